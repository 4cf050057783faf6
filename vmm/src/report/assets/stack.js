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
  const values = { EIP: one.eip, CS: one.cs, EFLAGS: one.eflags, ESP: one.esp, SS: one.ss, ...one.above };
  const names = [...FRAME_WORDS.slice(0, one.changesStack ? 5 : 3), ...(one.above ? run.layout.above : [])];
  const words = one.errorCode === null || one.errorCode === undefined ? [] : [{ name: ERROR, value: one.errorCode }];
  names.forEach((name) => words.push({ name, value: values[name] }));
  words.forEach((word, index) => {
    word.address = (one.address + index * one.wordSize) >>> 0;
    word.kind = 'cpu';
    word.digits = one.wordSize * 2;
    word.note = meaning(one, word.name, word.value);
    word.full = meaning(one, word.name, word.value, true);
    // `f+12 (kernel.c:40)`: the line stands in the table.
    if (word.name === 'EIP') word.shorter = word.note.replace(/ \([^()]*\)$/, '');
    if (word.name === 'ESP') word.shorter = word.note.replace(/ stack$/, '');
  });
  return words.reverse();
}

/** Where the stack was before the frame was pushed. */
const frameEnd = (one) => frameWords(one)[0].address + one.wordSize >>> 0;

/** What a word says; for a picture the shorter half of it. */
function meaning(one, name, value, full = false) {
  if (value === null) return run.layout.unmapped;
  switch (name) {
    case 'ES': case 'DS': case 'FS': case 'GS': return 'virtual-8086';
    case 'CS': case 'SS': return one.virtual8086 ? 'virtual-8086' : `ring ${value & 3}`;
    case 'EFLAGS': return flags(value);
    case 'ESP': return full ? run.layout.interrupted : run.layout.interrupted.replace('the ', '');
    case 'EIP': {
      // Behind a single step is whatever comes next.
      const kind = one.event?.kind === 'trap' && one.event.vector === 1 ? 'external' : one.event?.kind;
      const what = run.layout.eip[kind] ?? '';
      const behind = one.event?.kind === 'int' ? `${what} 0x${hex(one.event.vector, 2)}` : what;
      if (!one.place?.name) return full ? behind : behind.replace('the instruction that ', '');
      return full ? [behind, placeName(one.place)].filter(Boolean).join(', in ') : shortPlace(one.place);
    }
    case ERROR: return one.event && one.event.vector === 14 ? pageFault(value) : errorCode(value);
    default: return '';
  }
}

/** Which descriptor an error code names (SDM vol. 3A, error code). */
function errorCode(value) {
  if (value === 0) return 'no selector';
  const what = value & 2 ? `IDT entry 0x${hex(value >>> 3 & 0xff, 2)}` : `selector ${hex(value & 0xfffc, 4)}`;
  return `${what}${value & 1 ? ', from outside' : ''}`;
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

const PUSHA = ['EAX', 'ECX', 'EDX', 'EBX', 'ESP', 'EBP', 'ESI', 'EDI'];

/**
 * What the words below a frame may be: a register that was saved there, a place in code. A value says so and
 * nothing else, and it is told that way.
 */
function nameSaved(words, one) {
  const registers = { EAX: one.eax, ECX: one.ecx, EDX: one.edx, EBX: one.ebx, EBP: one.ebp, ESI: one.esi, EDI: one.edi };
  for (let at = 0; at + 8 <= words.length; at += 1) {
    const all = PUSHA.every((name, index) => name === 'ESP' || words[at + index].value === registers[name]);
    const telling = PUSHA.filter((name) => registers[name] > 0xff).length > 0;
    if (all && telling) {
      PUSHA.forEach((name, index) => { words[at + index].name = name; words[at + index].note = 'saved by PUSHA'; });
      break;
    }
  }
  return nameValues(words, one, registers);
}

/** The same for words of any order: by registers, and as places in code. */
function nameValues(words, one, registers = {}) {
  const names = one.detail?.names ?? {};
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

/** So many bytes from ESP up are in the page's data (TOLD in `stacks.rs`), and so many words of them are drawn. */
const TOLD = 512;
const ABOVE = 5;

/** Of an entry that stayed on its stack: what lies above its frame, the highest first. It is the interrupted kernel's. */
function wordsAbove(one) {
  if (one.changesStack) return [];
  const [from, top] = [frameEnd(one), topOf(one)];
  const memory = one.detail && memoryOf(one.detail);
  const end = Math.min(top ?? Infinity, memory ? Math.min(memory.to, one.espAfter + TOLD) : from);
  const words = [];
  for (let address = from; address + 4 <= end && words.length < ABOVE; address += 4) {
    words.unshift({ address, value: memory.at(address), kind: 'other' });
  }
  const rest = top === null ? null : (top - from) / 4 - words.length;
  if (rest !== 0) words.unshift({ gap: rest === null ? 'in use before' : `${plural(Math.ceil(rest), 'word')} ${words.length > 0 ? 'more' : 'in use before'}`, above: true });
  return nameValues(words, one);
}

/** The words at a moment, the highest first: what lay there, the frame, what the kernel wrote below it. */
function wordsAt(one, moment, most) {
  const above = wordsAbove(one);
  const own = ownWordsAt(one, moment, most - above.length);
  if (own === null) return null;
  // Between what is in use and what is not there is room for the pointer.
  return moment === 'after' && above.length > 0 ? [...above, { gap: 'left behind: free', esp: true }, ...own] : [...above, ...own];
}

function ownWordsAt(one, moment, most) {
  const frame = frameWords(one);
  if (moment === 'entry') return frame;
  const returning = one.returning;
  if (!returning) return null;
  if (moment === 'after') return frame.map((word) => ({ ...word, kind: 'stale', note: 'left behind' }));
  if (returning.wordSize !== one.wordSize && moment === 'return') return poppedWords(returning, one);
  const poppedWords = { EIP: returning.eip, CS: returning.cs, EFLAGS: returning.eflags, ESP: returning.esp, SS: returning.ss, ...returning.above };
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

/** The entry as it would be if an IRET's words were its frame. */
function asFrame(back, one) {
  return { ...one, ...pick(back, ['address', 'eip', 'cs', 'eflags', 'esp', 'ss', 'wordSize', 'above']), virtual8086: back.above !== null, errorCode: null, changesStack: back.to !== back.from, place: null };
}

/** The words that an IRET pops, each with what had been pushed there, if that was something else. */
function poppedWords(back, one) {
  const pushed = frameWords(one);
  return frameWords(asFrame(back, one)).map((word) => {
    const was = pushed.find((old) => word.address >= old.address && word.address < old.address + one.wordSize);
    const whole = was && was.address === word.address && was.digits === word.digits;
    if (!was || (whole && was.value === word.value)) return word;
    const half = was.digits > word.digits ? `${was.address === word.address ? 'lower' : 'upper'} half of ` : '';
    const note = whole ? `was ${hex(was.value, was.digits)}` : `${half}${was.name}`;
    return { ...word, kind: 'cpu changed', note, was: whole ? `was pushed as ${hex(was.value, was.digits)}` : `${half}the pushed ${was.name}` };
  });
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
  const column = before.size > 0 && width >= 440 ? Math.min(210, 20 + longest * 6.7) : 0;
  const top = ROW / 2 + 4;
  const height = top + words.length * ROW + ROW;
  words.forEach((word) => {
    word.wrong = wrong(word);
    if (column === 0 && before.has(word.address)) word.note = before.get(word.address).replace(/ of #\d+$|the pushed /, '');
  });
  const wanted = Math.max(340, ...words.filter((word) => word.note && !word.gap).map((word) => besideNotes(word) + widthOf(word.note, 'small')));
  const box = Math.max(140, Math.min(narrow ? width - x - 2 : wanted, width - x - column - 2));
  const frame = words.filter((word) => word.kind !== 'ghost' && !word.gap);
  const first = words.indexOf(frame[0]);
  const from = top + first * ROW;
  const end = frame[0].address + one.wordSize >>> 0;
  const parts = [
    label(x - 6, from - 4, hex(end), 'mono muted', 'end'),
    ...(options.popped || !one.changesStack ? [] : pointer(x - ADDRESS, from - 8, run.layout.top, narrow ? 18 : 30, 'ring0')),
    wordBox(x, top, box, words),
    svg('line', { x1: x, x2: x + box, y1: from, y2: from, class: 'edge' }),
    ...pointer(x - ADDRESS, top + (first + frame.length) * ROW - 8, run.layout.bottom, narrow ? 18 : 30, 'ring0'),
  ];
  words.forEach((word, index) => {
    const old = before.get(word.address);
    if (old && column > 0) parts.push(of(word, fitted(x + box + 10, top + index * ROW + 16, old, column - 12, 'bad small')));
  });
  return picture(Math.min(width, x + box + column + 2), height, `The frame of entry ${one.number} on its kernel stack: ${
    frame.map((word) => `${word.name} ${hex(word.value, word.digits)}`).join(', ')}`, parts);
}

/** Both stacks, the TSS, and the whole of the kernel stack to scale. */
function stackDrawing(one, moment, width) {
  const most = 22;
  const words = wordsAt(one, moment, most);
  if (words === null) return null;
  const narrow = width < 760;
  // Behind the IRET nothing of this entry is in use, and nothing at all where it had changed the stack.
  const after = moment === 'after';
  const empty = after && one.changesStack;
  const tss = one.tr !== 0;
  const user = userWords(one, narrow ? 4 : 8);
  const lines = Math.max(words.length + 2, narrow ? 9 : 10);
  const body = lines * ROW;
  const top = 52;
  const parts = [];
  // The kernel stack, magnified.
  const bar = narrow ? Math.min(64, width * 0.16) : 50;
  const barLabels = narrow ? 0 : 140;
  const userWidth = narrow || !(one.changesStack || tss) ? 0 : ADDRESS + 92;
  const tssWidth = narrow || !tss ? 0 : 146;
  const x = narrow ? ADDRESS : userWidth + tssWidth + ADDRESS + 24;
  const barX = width - bar - barLabels - 2;
  const box = barX - (narrow ? 24 : 30) - x;
  parts.push(label(x + box / 2, top - 28, 'kernel stack', 'strong', 'middle'),
    label(x + box / 2, top - 12, stackName(one), 'small muted', 'middle'));
  if (topOf(one) !== null) parts.push(svg('line', { x1: x - ADDRESS, x2: x + box, y1: top, y2: top, class: 'edge' }));
  parts.push(wordBox(x, top, box, words));
  const shownEnd = top + words.length * ROW;
  parts.push(svg('rect', { x, y: shownEnd, width: box, height: top + body - shownEnd, class: 'word free' }),
    label(x + box / 2, shownEnd + (top + body - shownEnd) / 2 + 4, empty ? 'empty: all of it is free' : 'free', 'muted small', 'middle'));
  const left = words.findIndex((word) => word.esp);
  const espLine = empty ? top : left >= 0 ? top + left * ROW : shownEnd;
  parts.push(label(x - 8, espLine + (empty ? -5 : 13), `${run.layout.bottom} ►`, 'ring0 strong small', 'end'));
  // To scale.
  const scale = toScale(one, moment, words, { x: barX, y: top, width: bar, height: body, from: x + box, top, bottom: shownEnd });
  parts.push(...scale.parts);
  if (!narrow) parts.push(...spread(scale.texts).map(([y, text, className]) => fitted(barX + bar + 8, y, text, barLabels - 6, `small ${className}`)));
  let height = top + body + 28;
  if (!narrow) {
    // The user stack, and the TSS between them.
    const userX = ADDRESS;
    const userBox = userWidth - ADDRESS;
    if (userWidth > 0) parts.push(label(userX + userBox / 2, top - 28, one.changesStack ? 'user stack' : 'no other stack', 'strong', 'middle'));
    if (one.changesStack) parts.push(...userStack(one, user, userX, top, userBox, body));
    const tssX = userWidth + 22;
    const tssY = top + 8;
    if (tss) parts.push(record(tssX, tssY, tssWidth - 26, `TSS ${hex4(one.tr)}`, [['SS0', hex4(one.ss0)], ['ESP0', hex(one.esp0)]]));
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
    } else if (tss) {
      parts.push(fitted(tssX, tssY + ROW * 3 + 18, 'not read: same ring', tssWidth, 'muted small'));
    }
  } else {
    // One below the other.
    let y = top + body + 34;
    const besides = tss ? 20 + 150 + 14 : 20;
    scale.texts.sort((a, b) => a[0] - b[0]).forEach(([, text, className], index) => parts.push(
      fitted(besides, y + 12 + index * 16, text, width - besides - 4, `small ${className}`)));
    if (tss) parts.push(record(20, y, 150, `TSS ${hex4(one.tr)}`, [['SS0', hex4(one.ss0)], ['ESP0', hex(one.esp0)]]));
    if (one.changesStack) parts.push(arrow([[20, y + ROW * 2.5], [6, y + ROW * 2.5], [6, top], [18, top]], 'ring0'));
    y += Math.max(ROW * 3, scale.texts.length * 16) + 40;
    if (one.changesStack && user.length > 0) {
      parts.push(label(ADDRESS + 80, y - 10, 'user stack', 'strong', 'middle'), ...userStack(one, user, ADDRESS, y, Math.min(220, width - ADDRESS - 4), ROW * (user.length + 2)));
      y += ROW * (user.length + 2) + 10;
    }
    height = y + 4;
  }
  const what = MOMENTS.find(([name]) => name === moment)[1].toLowerCase();
  return picture(width, height, `Stacks of entry ${one.number} ${what}.${tss ? ` TSS: SS0 ${hex4(one.ss0)}, ESP0 ${hex(one.esp0)}.` : ''} Kernel stack, ${stackName(one)}: ${
    words.filter((word) => !word.gap).map((word) => `${word.name || hex(word.address)} ${hex(word.value ?? null, word.digits)}`).join(', ')}`, parts);
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

/** The kernel stack to scale, and what lies below it: a picture, and texts with the heights at which they belong. */
function toScale(one, moment, words, at) {
  const top = frameEnd(one);
  const { end, bottom } = extentOf(one);
  const lowest = lowestWritten(one);
  const deepest = deepestOf(one);
  const start = end - bottom > PAGE * 8 ? end - PAGE * 8 : bottom;
  const guard = 30;
  const scale = (at.height - guard) / (end - start);
  const yOf = (address) => at.y + Math.min(at.height - guard, Math.max(0, (end - address) * scale));
  const after = moment === 'after';
  const below = belowOf(one, start);
  const parts = [
    label(at.x + at.width / 2, at.y - 28, 'to scale', 'strong', 'middle'),
    label(at.x + at.width / 2, at.y - 12, bytes(end - start), 'small muted', 'middle'),
    svg('rect', { x: at.x, y: at.y, width: at.width, height: at.height - guard, class: 'word free' }),
  ];
  const texts = [[at.y + 4, hex(end), 'mono muted'], [at.y + at.height - guard + 4, hex(start), 'mono muted'],
    [at.y + at.height - 9, below.short, below.className === 'guard' ? 'good' : 'muted']];
  const band = (high, low, className, name, said) => {
    const y = yOf(high);
    const tall = yOf(low) - y;
    parts.push(svg('rect', { x: at.x, y, width: at.width, height: Math.max(1.5, tall), class: `band ${className}` }, svg('title', {}, name)));
    texts.push([tall > 40 ? y + tall / 2 + 4 : y + tall + 12, said, '']);
  };
  // Without a known end nobody can tell how much of the page above is the stack's.
  if (!one.changesStack && end > top) {
    if (topOf(one) !== null) band(end, top, 'other', 'what was in use before this entry', `${bytes(end - top)} before`);
    else band(end, top, 'unknown', 'the stack was in use from here up; where it ends is not known', 'above: not known');
  }
  if (!after) band(top, one.espAfter, 'cpu', 'the frame', `${bytes(top - one.espAfter)} frame`);
  else if (one.changesStack) texts.push([yOf(end) + 19, 'nothing is in use', '']);
  if (moment === 'deepest' && lowest !== null && lowest < one.espAfter) {
    band(one.espAfter, lowest, 'saved', 'what the kernel pushed', `${bytes(one.espAfter - lowest)} pushed`);
  }
  if (deepest !== null) {
    const y = yOf(deepest);
    parts.push(svg('line', { x1: at.x - 4, x2: at.x + at.width + 4, y1: y, y2: y, class: 'mark' },
      svg('title', {}, `the deepest that was seen on this stack: ${hex(deepest)}`)));
    texts.push([y + 12, `deepest ${hex(deepest)}`, 'mark']);
  }
  // What lies below the stack.
  parts.push(svg('rect', { x: at.x, y: at.y + at.height - guard, width: at.width, height: guard, class: `word ${below.className}` },
    svg('title', {}, below.text)));
  // From the magnified words to their place.
  const placed = words.filter((word) => word.address !== undefined);
  const high = words[0]?.above || placed.length === 0 ? end : placed[0].address + one.wordSize;
  const last = placed.at(-1)?.address ?? high;
  parts.push(svg('path', {
    class: 'funnel',
    d: `M${at.from},${at.top} L${at.x},${yOf(high)} L${at.x},${Math.max(yOf(last), yOf(high) + 1.5)} L${at.from},${at.bottom} Z`,
  }));
  return { parts, texts };
}

/** Labels one under the other, none over another. */
function spread(texts) {
  const sorted = [...texts].sort((one, other) => one[0] - other[0]);
  for (let index = 1; index < sorted.length; index += 1) {
    sorted[index][0] = Math.max(sorted[index][0], sorted[index - 1][0] + 15);
  }
  return sorted;
}
