// What lies on the stacks of one entry, and its pictures: the frame alone, and everything to scale. Which words a frame
// has, in which order, and what stands beside them comes from `layout.rs`, of which the terminal draws too.

const [ERROR, ...FRAME_WORDS] = run.layout.words;
const MOMENTS = [
  ['entry', 'At entry'],
  ['deepest', 'At its deepest'],
  ['return', 'Before IRET'],
  ['after', 'After IRET'],
];

/** The words of a frame, the highest address first, as the processor pushed them. */
function frameWords(one) {
  const values = { EIP: one.eip, CS: one.cs, EFLAGS: one.eflags, ESP: one.esp, SS: one.ss };
  const names = FRAME_WORDS.slice(0, one.changesStack ? 5 : 3);
  const words = one.errorCode === null || one.errorCode === undefined ? [] : [{ name: ERROR, value: one.errorCode }];
  names.forEach((name) => words.push({ name, value: values[name] }));
  words.forEach((word, index) => {
    word.address = (one.address + index * one.wordSize) >>> 0;
    word.kind = 'cpu';
    word.note = meaning(one, word.name, word.value);
    word.full = meaning(one, word.name, word.value, true);
  });
  return words.reverse();
}

/** Where the stack was before the frame was pushed. */
const frameEnd = (one) => frameWords(one)[0].address + one.wordSize >>> 0;

/** What a word says; for a picture the shorter half of it. */
function meaning(one, name, value, full = false) {
  if (value === null) return run.layout.unmapped;
  switch (name) {
    case 'CS': case 'SS': return one.virtual8086 ? 'virtual-8086' : `ring ${value & 3}`;
    case 'EFLAGS': return flags(value);
    case 'ESP': return full ? run.layout.interrupted : run.layout.interrupted.replace('the ', '');
    case 'EIP': {
      const what = run.layout.eip[one.event?.kind] ?? '';
      const behind = one.event?.kind === 'int' ? `${what} 0x${hex(one.event.vector, 2)}` : what;
      if (!one.place?.name) return behind;
      return full ? [behind, placeName(one.place)].filter(Boolean).join(', in ') : shortPlace(one.place);
    }
    case ERROR: return one.event && one.event.vector === 14 ? pageFault(value) : value === 0 ? 'no selector' : `selector ${hex(value & 0xfffc, 4)}`;
    default: return '';
  }
}

/** What the page knows of the memory around a stack: addresses to words. */
function memoryOf(detail, changed) {
  const words = new Map();
  const take = ([address, digits]) => {
    const start = parseInt(address, 16);
    for (let at = 0; at < digits.length; at += 8) words.set(start + at / 2, parseInt(digits.slice(at, at + 8), 16));
  };
  detail.stack.words.forEach(take);
  if (changed) changed.forEach(take);
  const from = parseInt(detail.stack.from, 16);
  const to = parseInt(detail.stack.to, 16);
  return { from, to, at: (address) => words.get(address) ?? (address >= from && address < to ? 0 : undefined) };
}

/** The lowest address that the kernel wrote between the entry and its return; none if that is not known. */
function lowestWritten(one) {
  const changed = one.returning?.detail?.changed;
  if (!one.detail || !changed) return null;
  return changed.reduce((lowest, [address]) => Math.min(lowest, parseInt(address, 16)), one.espAfter);
}

const PUSHA = ['EAX', 'ECX', 'EDX', 'EBX', 'ESP', 'EBP', 'ESI', 'EDI'];

/**
 * What the words below a frame may be: a register that was saved there, a place in code. A value says so and
 * nothing else, and it is told that way.
 */
function nameSaved(words, one) {
  const registers = { EAX: one.eax, ECX: one.ecx, EDX: one.edx, EBX: one.ebx, EBP: one.ebp, ESI: one.esi, EDI: one.edi };
  const names = one.detail?.names ?? {};
  for (let at = 0; at + 8 <= words.length; at += 1) {
    const all = PUSHA.every((name, index) => name === 'ESP' || words[at + index].value === registers[name]);
    const telling = PUSHA.filter((name) => registers[name] > 0xff).length > 0;
    if (all && telling) {
      PUSHA.forEach((name, index) => { words[at + index].name = name; words[at + index].note = 'saved by PUSHA'; });
      break;
    }
  }
  for (const word of words) {
    if (word.name || word.gap || word.value === undefined) continue;
    const same = Object.keys(registers).filter((name) => registers[name] === word.value);
    const place = run.names?.[hex(word.value)] ?? names[hex(word.value)];
    if (same.length === 1 && word.value > 0xff) [word.name, word.note] = [same[0], 'the value it had'];
    else if (place) word.note = place;
    else if (word.value === one.ds && word.value !== 0 && word.value < 0x10000) word.note = 'as DS';
  }
  return words;
}

/** The words at a moment, the highest first: the frame, what the kernel wrote below it, what is free. */
function wordsAt(one, moment, most) {
  const frame = frameWords(one);
  if (moment === 'entry') return frame;
  const returning = one.returning;
  if (moment === 'after') return frame.map((word) => ({ ...word, kind: 'stale', note: 'left behind' }));
  if (!returning) return null;
  const poppedWords = { EIP: returning.eip, CS: returning.cs, EFLAGS: returning.eflags, ESP: returning.esp, SS: returning.ss };
  const now = frame.filter((word) => word.name in poppedWords && !((word.name === 'SS' || word.name === 'ESP') && returning.to === returning.from))
    .map((word) => {
      const value = poppedWords[word.name];
      const selector = word.name === 'CS' || word.name === 'SS';
      const same = selector ? (value & 0xffff) === (word.value & 0xffff) : value === word.value;
      return same ? word : { ...word, value, kind: 'cpu changed', note: `was ${hex(word.value)}` };
    });
  if (moment === 'return') return now;
  const lowest = lowestWritten(one);
  if (lowest === null) return null;
  const memory = memoryOf(one.detail, returning.detail.changed);
  const below = [];
  for (let address = one.espAfter - 4; address >= lowest; address -= 4) {
    below.push({ address: address >>> 0, value: memory.at(address), kind: 'saved' });
  }
  nameSaved(below, one);
  const room = most - frame.length;
  const error = frame.filter((word) => word.name === ERROR);
  if (below.length <= room) return [...now, ...error, ...below];
  const head = Math.max(4, room - 4);
  return [...now, ...error, ...below.slice(0, head), { gap: `${below.length - head - 3} words more` }, ...below.slice(-3)];
}

/**
 * The frame alone. `before` tells, for addresses of the frame, what lay there: words of another frame that
 * this one was pushed over.
 */
function frameDrawing(one, width, options = {}) {
  const words = options.words ?? frameWords(one);
  const before = options.before ?? new Map();
  const wrong = options.wrong ?? (() => false);
  const narrow = width < 520;
  const x = (narrow ? 62 : 88) + ADDRESS;
  const longest = Math.max(0, ...[...before.values()].map((text) => text.length));
  const column = before.size > 0 && width >= 440 ? Math.min(196, 20 + longest * 6.7) : 0;
  const box = Math.max(140, Math.min(narrow ? width - x - 2 : 340, width - x - column - 2));
  const top = ROW / 2 + 4;
  const height = top + words.length * ROW + ROW;
  words.forEach((word) => {
    word.wrong = wrong(word);
    if (column === 0 && before.has(word.address)) word.note = before.get(word.address).replace(/ of #\d+$/, '');
  });
  const end = words[0].address + one.wordSize >>> 0;
  const parts = [
    label(x - 6, top - 4, hex(end), 'mono muted', 'end'),
    ...(options.popped || !one.changesStack ? [] : pointer(x - ADDRESS, top - 8, run.layout.top, narrow ? 18 : 30, 'ring0')),
    svg('line', { x1: x, x2: x + box, y1: top, y2: top, class: 'edge' }),
    wordBox(x, top, box, words),
    ...pointer(x - ADDRESS, top + words.length * ROW - 8, run.layout.bottom, narrow ? 18 : 30, 'ring0'),
  ];
  words.forEach((word, index) => {
    const old = before.get(word.address);
    if (old && column > 0) parts.push(fitted(x + box + 10, top + index * ROW + 16, old, column - 12, 'bad small'));
  });
  return picture(Math.min(width, x + box + column + 2), height, `The frame of entry ${one.number} on its kernel stack: ${
    words.map((word) => `${word.name} ${hex(word.value ?? 0)}`).join(', ')}`, parts);
}

/** Both stacks, the TSS, and the whole of the kernel stack to scale. */
function stackDrawing(one, moment, width) {
  const most = 22;
  const words = wordsAt(one, moment, most);
  if (words === null) return null;
  const narrow = width < 760;
  const empty = moment === 'after';
  const user = userWords(one, narrow ? 4 : 8);
  const lines = Math.max(words.length + 2, 9);
  const body = lines * ROW;
  const top = 52;
  const parts = [];
  // The kernel stack, magnified.
  const bar = narrow ? Math.min(64, width * 0.16) : 50;
  const barLabels = narrow ? 0 : 120;
  const userWidth = narrow ? 0 : ADDRESS + 92;
  const tssWidth = narrow ? 0 : 138;
  const x = narrow ? ADDRESS : userWidth + tssWidth + ADDRESS + 24;
  const barX = width - bar - barLabels - 2;
  const box = barX - (narrow ? 24 : 30) - x;
  parts.push(label(x + box / 2, top - 28, 'kernel stack', 'strong', 'middle'),
    label(x + box / 2, top - 12, stackName(one), 'small muted', 'middle'));
  parts.push(svg('line', { x1: x - ADDRESS, x2: x + box, y1: top, y2: top, class: 'edge' }));
  parts.push(wordBox(x, top, box, words, { names: 68 }));
  const shownEnd = top + words.length * ROW;
  parts.push(svg('rect', { x, y: shownEnd, width: box, height: top + body - shownEnd, class: 'word free' }),
    label(x + box / 2, shownEnd + (top + body - shownEnd) / 2 + 4, empty ? 'empty: all of it is free' : 'free', 'muted small', 'middle'));
  const espLine = empty ? top : shownEnd;
  parts.push(label(x - 8, espLine + (empty ? -5 : 13), `${run.layout.bottom} ►`, 'ring0 strong small', 'end'));
  // To scale.
  parts.push(...toScale(one, moment, words, { x: barX, y: top, width: bar, height: body, from: x + box, top, bottom: shownEnd, labels: barLabels }));
  let height = top + body + 28;
  if (!narrow) {
    // The user stack, and the TSS between them.
    const userX = ADDRESS;
    const userBox = userWidth - ADDRESS;
    parts.push(label(userX + userBox / 2, top - 28, one.changesStack ? 'user stack' : 'no other stack', 'strong', 'middle'));
    if (one.changesStack) parts.push(...userStack(one, user, userX, top, userBox, body));
    const tssX = userWidth + 22;
    const tssY = top + 8;
    parts.push(record(tssX, tssY, tssWidth - 26, one.tr ? `TSS ${hex4(one.tr)}` : 'TSS', [['SS0', hex4(one.ss0)], ['ESP0', hex(one.esp0)]]));
    const out = tssX + tssWidth - 26;
    if (one.changesStack) {
      parts.push(arrow([[out, tssY + ROW * 2.5], [out + 12, tssY + ROW * 2.5], [out + 12, top], [x - ADDRESS + 2, top]], 'ring0'));
      const line = words.findIndex((word) => word.name === run.layout.bottom && word.kind?.startsWith('cpu'));
      if (line >= 0 && user.length > 0) {
        const from = top + line * ROW + ROW / 2;
        const to = top + ROW * user.length;
        const turn = out + 22;
        parts.push(arrow([[x - ADDRESS + 4, from], [turn, from], [turn, Math.max(to, tssY + ROW * 3 + 14)],
          [userX + userBox + 10, Math.max(to, tssY + ROW * 3 + 14)], [userX + userBox + 10, to], [userX + userBox, to]], 'ring3'));
      }
    } else {
      parts.push(fitted(tssX, tssY + ROW * 3 + 18, 'not read: same ring', tssWidth, 'muted small'));
    }
  } else {
    // One below the other.
    let y = top + body + 34;
    parts.push(record(ADDRESS, y, 150, one.tr ? `TSS ${hex4(one.tr)}` : 'TSS', [['SS0', hex4(one.ss0)], ['ESP0', hex(one.esp0)]]));
    if (one.changesStack) parts.push(arrow([[ADDRESS, y + ROW * 2.5], [6, y + ROW * 2.5], [6, top], [18, top]], 'ring0'));
    y += ROW * 3 + 40;
    if (one.changesStack && user.length > 0) {
      parts.push(label(ADDRESS + 80, y - 10, 'user stack', 'strong', 'middle'), ...userStack(one, user, ADDRESS, y, Math.min(220, width - ADDRESS - 4), ROW * (user.length + 2)));
      y += ROW * (user.length + 2) + 10;
    }
    height = y + 4;
  }
  const what = MOMENTS.find(([name]) => name === moment)[1].toLowerCase();
  return picture(width, height, `Stacks of entry ${one.number} ${what}. TSS: SS0 ${hex4(one.ss0)}, ESP0 ${hex(one.esp0)}. Kernel stack: ${
    words.filter((word) => !word.gap).map((word) => `${word.name || hex(word.address)} ${hex(word.value ?? 0)}`).join(', ')}`, parts);
}

function stackName(one) {
  return one.detail?.top_name ? `ends at ${one.detail.top_name}` : `ends at ${hex(one.changesStack ? frameEnd(one) : one.esp0)}`;
}

/** Words of the interrupted stack from its ESP upwards, the highest first. */
function userWords(one, most) {
  if (!one.changesStack) return [];
  const detail = one.detail?.user;
  if (!detail) return [{ address: one.esp, value: null, kind: 'user', note: '' }];
  const start = parseInt(detail[0], 16);
  const words = [];
  for (let at = 0; at + 8 <= detail[1].length && words.length < most; at += 8) {
    const value = parseInt(detail[1].slice(at, at + 8), 16);
    words.push({ address: start + at / 2 >>> 0, value, kind: 'user' });
  }
  return words.reverse();
}

function userStack(one, words, x, y, width, height) {
  const end = y + words.length * ROW;
  return [
    wordBox(x, y, width, words, { names: 8 }),
    svg('rect', { x, y: end, width, height: Math.max(ROW * 2, height - words.length * ROW), class: 'word free' }),
    label(x + width / 2, end + 22, 'free', 'muted small', 'middle'),
    label(x - 8, end + 13, `${run.layout.bottom} ►`, 'ring3 strong small', 'end'),
  ];
}

/** The kernel stack to scale, from its page's start to its end, and what lies below. */
function toScale(one, moment, words, at) {
  const top = (one.changesStack ? frameEnd(one) : Math.max(one.espAfter + 1, frameEnd(one))) >>> 0;
  const end = one.changesStack && one.esp0 === top ? top : Math.ceil(top / 4096) * 4096;
  const lowest = lowestWritten(one);
  const reach = Math.min(one.espAfter, lowest ?? one.espAfter);
  const deepest = deepestOf(one);
  // As far down as pages are mapped, where that has an end: the page that is not mapped guards the stack.
  const mapped = one.detail?.stack?.below ?? null;
  const page = Math.floor(one.espAfter / 4096) * 4096;
  const floor = Math.min(Math.floor(Math.min(reach, deepest ?? reach) / 4096) * 4096, mapped === null ? Infinity : page - mapped * 4096);
  const start = end - floor > 4096 * 8 ? end - 4096 * 8 : floor;
  const guard = 30;
  const scale = (at.height - guard) / (end - start);
  const yOf = (address) => at.y + Math.min(at.height - guard, Math.max(0, (end - address) * scale));
  const parts = [
    label(at.x + at.width / 2, at.y - 28, 'to scale', 'strong', 'middle'),
    label(at.x + at.width / 2, at.y - 12, bytes(end - start), 'small muted', 'middle'),
    svg('rect', { x: at.x, y: at.y, width: at.width, height: at.height - guard, class: 'word free' }),
  ];
  const band = (high, low, className, name) => {
    const y = yOf(high);
    const height = Math.max(1.5, yOf(low) - y);
    parts.push(svg('rect', { x: at.x, y, width: at.width, height, class: `band ${className}` }, svg('title', {}, name)));
  };
  const empty = moment === 'after';
  if (!empty) {
    if (end > top) band(end, top, 'other', 'used before this entry');
    band(top, one.espAfter, 'cpu', 'the frame');
    if (moment === 'deepest' && lowest !== null) band(one.espAfter, lowest, 'saved', 'what the kernel pushed');
  }
  if (deepest !== null) {
    const y = yOf(deepest);
    parts.push(svg('line', { x1: at.x - 4, x2: at.x + at.width + 4, y1: y, y2: y, class: 'mark' },
      svg('title', {}, `the deepest that was seen on this stack: ${hex(deepest)}`)));
  }
  // What lies below the page.
  const below = belowOf(one, start);
  parts.push(svg('rect', { x: at.x, y: at.y + at.height - guard, width: at.width, height: guard, class: `word ${below.className}` },
    svg('title', {}, below.text)));
  // From the magnified words to their place.
  const high = words[0]?.address === undefined ? end : words[0].address + one.wordSize;
  const last = [...words].reverse().find((word) => word.address !== undefined);
  parts.push(svg('path', {
    class: 'funnel',
    d: `M${at.from},${at.top} L${at.x},${yOf(high)} L${at.x},${Math.max(yOf(last?.address ?? high), yOf(high) + 1.5)} L${at.from},${at.bottom} Z`,
  }));
  if (at.labels > 0) {
    const side = at.x + at.width + 8;
    const texts = [[at.y + 4, hex(end), 'mono muted'], [at.y + at.height - guard + 4, hex(start), 'mono muted']];
    const frame = `${bytes(top - one.espAfter)} frame`;
    texts.push([yOf(one.espAfter) + 12, empty ? 'nothing is in use' : frame, '']);
    if (moment === 'deepest' && lowest !== null) texts.push([yOf(lowest) + 12, `${bytes(one.espAfter - lowest)} pushed`, '']);
    if (deepest !== null) texts.push([yOf(deepest) + 12, `deepest ${hex(deepest)}`, 'mark']);
    texts.push([at.y + at.height - 9, below.short, below.className === 'guard' ? 'good' : 'muted']);
    parts.push(...spread(texts).map(([y, text, className]) => fitted(side, y, text, at.labels - 8, `small ${className}`)));
  }
  return parts;
}

/** Labels one under the other, none over another. */
function spread(texts) {
  const sorted = [...texts].sort((one, other) => one[0] - other[0]);
  for (let index = 1; index < sorted.length; index += 1) {
    sorted[index][0] = Math.max(sorted[index][0], sorted[index - 1][0] + 15);
  }
  return sorted;
}

/** What is below the pages of a stack. */
function belowOf(one, start) {
  const below = one.detail?.stack?.below;
  if (below === undefined) return { className: 'free', short: 'below: not known', text: 'what lies below was not looked at' };
  const guarded = below !== null && Math.floor(one.espAfter / 4096) * 4096 - below * 4096 === start;
  return guarded
    ? { className: 'guard', short: 'guard page', text: 'the page below is not mapped: whoever runs over the end faults' }
    : { className: 'other', short: 'below is mapped', text: 'the page below is mapped: whoever runs over the end writes there' };
}

let lowestByTop = null;
/** The lowest ESP or written word that was seen on this stack in the whole run. */
function deepestOf(one) {
  if (lowestByTop === null) {
    lowestByTop = new Map();
    const [esp, task] = [entries('espAfter'), stops('task')];
    for (let row = 0; row < esp.length; row += 1) {
      const key = task[stopOf[row]];
      if (!(lowestByTop.get(key) <= esp[row])) lowestByTop.set(key, esp[row]);
    }
    for (const [index, detail] of Object.entries(run.returnDetails)) {
      const key = task[stopOfReturn[index]];
      const lowest = Math.min(...detail.changed.map(([address]) => parseInt(address, 16)));
      const known = lowestByTop.get(key);
      if (known !== undefined && known - lowest < 0x4000 && lowest < known) lowestByTop.set(key, lowest);
    }
  }
  const lowest = lowestByTop.get(one.task);
  return lowest !== undefined && Math.abs(one.espAfter - lowest) < 0x8000 ? lowest : null;
}
