// What was found, each cause once, with its picture and what to do.

function buildFindings(into) {
  const { list: causes, findings, beyond } = run.causes;
  if (findings === 0) {
    const stood = run.lastPlace ? ` EIP was in the end: ${run.lastPlace}.` : '';
    const ended = run.ending ? ` ${capital(run.ending)}.${stood}` : '';
    if (run.cut) {
      into.append(el('p', { class: 'empty' }, `The trace was cut off. Up to there no rule found anything wrong with ${plural(run.rows.entries, 'entry', 'entries')}; how the run ended is not known.`));
    } else into.append(el('p', { class: `empty ${good() ? 'good' : ''}` }, good()
      ? `Nothing is wrong with any of ${plural(run.rows.entries, 'entry', 'entries')} and ${plural(run.rows.returns, 'return')}.`
      : `No rule found anything wrong with ${plural(run.rows.entries, 'entry', 'entries')}, and yet it did not end well.`, ended));
  }
  causes.forEach((cause, index) => into.append(causeCard(cause, index)));
  if (beyond > 0) into.append(el('p', { class: 'hint' }, `${grouped(beyond)} more, of further kinds, were only counted.`));
}

const good = () => run.causes.findings === 0 && (['ok', 'unchecked'].includes(run.end?.verdict ?? 'ok'));
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function causeCard(cause, index) {
  const row = aboutRow(cause);
  const one = row >= 0 ? entryAt(row) : null;
  const number = stops('number');
  const times = cause.count > 1 ? `Seen ${grouped(cause.count)} times, #${grouped(cause.first)} to #${grouped(cause.last)}.` : '';
  const where = cause.place ?? (one ? `${cause.at === 'return' ? 'IRET after ' : cause.at === 'end' ? 'at the end, after ' : ''}#${grouped(cause.first)} ${one.event.name} in ${taskName(one.task)}` : 'at the end');
  const item = (name, text, className = '') => text && [el('dt', {}, name), el('dd', { class: className }, prose(text))];
  const card = el('article', { class: `cause ${cause.note ? 'noted' : 'wrong'}`, id: `cause-${index}`, 'aria-labelledby': `cause-title-${index}`, tabindex: -1 },
    el('div', { class: 'cause-text' },
      el('p', { class: 'where' }, el('span', { class: 'tag' }, `${cause.note ? 'note' : 'finding'}${cause.subject === 'kernel' ? '' : ` about the ${cause.subject}`}`), ` ${where}`),
      el('h3', { id: `cause-title-${index}` }, prose(capital(cause.sentence))),
      el('div', { class: 'versus' },
        el('div', { class: 'expected' }, el('h4', {}, 'Expected'), el('p', {}, prose(cause.expected))),
        el('div', { class: 'got' }, el('h4', {}, 'Got'), el('p', {}, prose(cause.got)))),
      el('dl', { class: 'why' }, item('Why', cause.reason), item('Who wrote it', cause.writer), item('What led there', cause.way), item('What to do', cause.advice, 'advice')),
      sourceOf(one, cause, index),
      el('p', { class: 'links' }, between(' · ', [one && el('a', { href: `#e${number[one.stop]}`, onclick: (event) => { event.preventDefault(); openEntry(row, { scroll: true, from: 'finding' }); byId('entry').focus({ preventScroll: true }); } }, `Open entry #${grouped(one.number)}`),
        ...others(cause, row).map(([other, sentence]) => el('a', { href: `#cause-${other}`, title: sentence }, 'Found there too')),
        times, `Rule ${cause.rule}, about the ${cause.subject}.`]))),
    one && el('figure', { class: 'cause-picture' }));
  if (one) {
    const figure = card.querySelector('figure');
    const draw = () => {
      const [drawn, caption] = causePicture(cause, one, Math.max(280, Math.floor(figure.clientWidth || 480)));
      refill(figure, drawn, cutIn(drawn), el('figcaption', { class: 'hint' }, caption));
    };
    let last = 0;
    new ResizeObserver(([change]) => {
      const width = Math.round(change.contentRect.width);
      if (width === last) return;
      last = width;
      draw();
    }).observe(figure);
  }
  return card;
}

/** Those of the parts that there are, with something between them. */
const between = (sign, parts) => parts.filter(Boolean).flatMap((part, index) => (index > 0 ? [sign, part] : [part]));

/** The other findings about the same entry: numbers and sentences. */
function others(cause, row) {
  return [...run.causes.list.entries()].filter(([, other]) => row >= 0 && other !== cause && other.note === cause.note && aboutRow(other) === row)
    .slice(0, 3).map(([index, other]) => [index, other.sentence]);
}

/** The entry that a cause is about, as a row; -1 if none is, as with a SYSENTER or a crossing by a call gate, which push no frame of an interrupt. */
function aboutRow(cause) {
  const stop = cause.stops[0];
  if (stop === undefined) return run.rows.entries - 1;
  return [SYSENTER, CROSSING].includes(stops('kind')[stop]) ? -1 : entryOfStop(stop);
}

/** The entry that a stop is about: itself, the one whose frame a return pops, or the last before it. */
function entryOfStop(stop) {
  if (stops('kind')[stop] === RETURN) {
    const pops = returns('pops')[rowOf[stop]] - 1;
    if (pops >= 0) return rowOf[pops];
  }
  return entryBefore(stop);
}

/** The frame that a finding is about, with what is wrong in it; and what the picture shows. */
function causePicture(cause, one, width) {
  const stop = cause.stops[0];
  if (stop === undefined) return [frameDrawing(one, width), `The last entry that was seen, #${grouped(one.number)} ${one.event.name}, on its kernel stack.`];
  if (stops('kind')[stop] === RETURN) return poppedPicture(cause, returnAt(rowOf[stop]), one, width);
  if (cause.rule === 'refused_iret' && stop > 0 && stops('kind')[stop - 1] === RETURN) return refusedPicture(cause, returnAt(rowOf[stop - 1]), one, width);
  const overwritten = /overwrites [A-Z ]+ of #(\d+)/.exec(cause.got ?? '');
  const victim = entryNumbered(Number((overwritten ?? /frame \(#(\d+)\)/.exec(cause.sentence ?? ''))?.[1] ?? 0));
  if (victim >= 0 && overwritten) {
    const other = entryAt(victim);
    const own = new Map(frameWords(one).map((word) => [word.address, word.name]));
    const before = new Map(frameWords(other).map((word) => [word.address,
      own.get(word.address) === word.name ? `was ${hex(word.value)} of #${other.number}` : `was ${word.name} ${hex(word.value)} of #${other.number}`]));
    return [frameDrawing(one, width, { before, wrong: (word) => before.has(word.address) }),
      `The frame of entry #${grouped(one.number)}, pushed over that of entry #${grouped(other.number)}, which had not been popped.`];
  }
  if (victim >= 0) {
    const other = entryAt(victim);
    const got = new Map([...(cause.got ?? '').matchAll(/\b(EIP|CS|EFLAGS|ESP|SS) ([0-9a-f]{8})/g)].map(([, name, digits]) => [name, parseInt(digits, 16)]));
    if (got.size > 0) return damagedPicture(other, got, width);
  }
  const misplaced = misplacedPicture(cause, one, width);
  if (misplaced) return misplaced;
  const named = ['error code', 'error_code'].includes(cause.word) ? ERROR : cause.word?.toUpperCase();
  return [frameDrawing(one, width, { wrong: (word) => word.name === named }), `The frame of entry #${grouped(one.number)} as the processor pushed it.`];
}

/** Addresses with what a text says of them: `ESP 00107fec`, as a number. */
const saidOf = (text, name) => {
  const [, digits] = new RegExp(`\\b${name} ([0-9a-f]{8})\\b`).exec(text ?? '') ?? [];
  return digits === undefined ? null : parseInt(digits, 16);
};
/** The words of a frame that a finding names as what was popped. */
const namedIn = (cause) => new Set([...(cause.got ?? '').matchAll(/\b(EIP|CS|EFLAGS|ESP|SS)\b/g)].map(([name]) => name));

/** A frame that is whole and in the wrong place, with the place where it belongs, or what lay where it is. */
function misplacedPicture(cause, one, width) {
  const [, start, digits] = /\b([0-9a-f]{8})(?: \([^)]*\))? held ((?:[0-9a-f]{8}\b ?)+)/.exec(cause.got ?? '') ?? [];
  const before = new Map((digits ?? '').trim().split(' ').filter(Boolean).map((held, index) => [parseInt(start, 16) + index * 4, `was ${held}`]));
  const frame = frameWords(one);
  const size = frame.length * one.wordSize;
  const at = (name, text) => saidOf(text, name);
  const esp0 = at('ESP0', cause.expected);
  const belongs = at('ESP', cause.expected) ?? (esp0 === null ? null : esp0 - size);
  if (belongs === null || belongs === one.espAfter || (at('ESP', cause.got) ?? at('ESP0', cause.got)) === null) {
    if (before.size === 0) return null;
  }
  const words = [...frame];
  if (belongs !== null && belongs !== one.espAfter) {
    const away = Math.abs(belongs - one.espAfter);
    const gap = { gap: away > size ? `${bytes(away - size)} between` : 'overlapping' };
    const ghost = { kind: 'ghost', address: belongs >>> 0, note: `here it belongs: ${run.layout.bottom} ${hex(belongs)}` };
    if (belongs > one.espAfter) words.unshift(ghost, gap);
    else words.push(gap, ghost);
  }
  return [frameDrawing(one, width, { words, before, wrong: (word) => word.kind === 'cpu' }),
    `The frame of entry #${grouped(one.number)}${before.size > 0 ? ', and what lay there before' : ''}${words.length > frame.length ? '; dashed, where it belongs' : ''}.`];
}

function poppedPicture(cause, back, one, width) {
  const own = asFrame(back, one);
  const words = back.pops >= 0 ? poppedWords(back, one) : frameWords(own);
  const named = namedIn(cause);
  const before = new Map();
  for (const word of words) {
    const expected = saidOf(cause.expected, word.name);
    if (word.was) before.set(word.address, word.was);
    else if (named.has(word.name) && expected !== null && expected !== word.value) before.set(word.address, `expected ${hex(expected)}`);
  }
  const shown = words.map((word) => ({ ...word, kind: 'cpu', note: before.has(word.address) ? '' : word.note }));
  return [frameDrawing(own, width, { popped: true, words: shown, before, wrong: (word) => before.has(word.address) || named.has(word.name) }),
    back.pops >= 0 ? `What the IRET pops, and what entry #${grouped(one.number)} had pushed there.` : 'What the IRET pops: no entry that was seen had pushed it.'];
}

/** What a refused IRET took for its frame, and what had been pushed there. */
function refusedPicture(cause, back, one, width) {
  const own = asFrame(back, one);
  const before = new Map();
  for (let at = back.stop - 1, left = 40; at >= 0 && left > 0; at -= 1) {
    if (stops('kind')[at] !== ENTRY) continue;
    left -= 1;
    const entry = entryAt(rowOf[at]);
    for (const pushed of frameWords(entry)) {
      const word = frameWords(own).find((taken) => taken.address === pushed.address && taken.value === pushed.value);
      if (word && !before.has(word.address)) before.set(word.address, `is the ${pushed.name === ERROR ? 'error code' : pushed.name} of #${entry.number}`);
    }
    if (before.size > 0) break;
  }
  const names = new Map(frameWords(own).map((word) => [word.address, word.name]));
  const named = namedIn(cause);
  const words = [...unpopped(own, one, named), ...frameWords(own).map((word) => ({ ...word, note: '' }))];
  return [frameDrawing(own, width, { popped: true, words, before, wrong: (word) => named.has(word.name) || (before.has(word.address) && !before.get(word.address).includes(` ${names.get(word.address)} of`)) }),
    'What the refused IRET took for its frame, and what had been pushed there.'];
}

/** What lies above the words of an IRET that pops no stack, where the finding names it: ESP and SS. */
function unpopped(own, one, named) {
  if (own.changesStack || !one.detail || !(named.has('SS') || named.has('ESP'))) return [];
  const memory = memoryOf(one.detail);
  return ['ESP', 'SS'].map((name, index) => {
    const address = own.address + (3 + index) * own.wordSize;
    return { name, address, value: memory.at(address), kind: 'other', note: 'not popped' };
  }).reverse();
}

/** A frame that somebody wrote over. */
function damagedPicture(other, got, width) {
  const before = new Map();
  const words = frameWords(other).map((word) => {
    if (!got.has(word.name) || got.get(word.name) === word.value) return word;
    before.set(word.address, `was ${hex(word.value)}`);
    return { ...word, value: got.get(word.name), note: '' };
  });
  return [frameDrawing(other, width, { words, before, wrong: (word) => before.has(word.address) }),
    `The frame of entry #${grouped(other.number)} as it was found later, and what had been pushed.`];
}

const pick = (from, names) => Object.fromEntries(names.map((name) => [name, from[name]]));

/** The return that led to a task which then came in on another's stack: what it is about is the switch. */
function switchBefore(stop, task) {
  for (let at = stop - 1, left = 400; at >= 0 && left > 0; at -= 1, left -= 1) {
    if (stops('kind')[at] === RETURN && stops('task')[at] === task && stops('to')[at] > 0) return returnAt(rowOf[at]);
  }
  return null;
}

/** The code that a finding is about, as the trace has it: that which is likeliest to be wrong first. */
function sourceOf(one, cause, index) {
  if (!(cause.where?.length > 0)) return null;
  const stop = cause.stops[0];
  const kind = stop === undefined ? null : stops('kind')[stop];
  const back = one && cause.rule === 'suspended_stack' && kind === ENTRY ? switchBefore(stop, one.task) : null;
  const iret = kind === RETURN ? returnAt(rowOf[stop]) : null;
  const title = (place) => {
    if (back && place.at === hex(back.at)) return `the switch to ${taskName(one.task)}: the IRET after #${grouped(back.after)}, in`;
    if (iret && place.at === hex(iret.at)) return 'the IRET in';
    return one && kind === ENTRY && place.at === hex(one.eip) ? 'interrupted in' : '';
  };
  // Where there is source the instructions say nothing more.
  return el('div', { class: 'places' }, cause.where.map((place) => codeBlock(title(place), place, parseInt(place.at, 16), { code: !place.source, of: `finding ${index + 1}` })));
}
