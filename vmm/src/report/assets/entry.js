// One entry in full.

let shown = -1;
let moment = 'entry';

/** Opens an entry: in the list, on the timeline, in full. */
function openEntry(row, options = {}) {
  if (row < 0 || row >= run.rows.entries) return;
  shown = row;
  const one = entryAt(row);
  showEntry(one);
  list.reveal(row);
  timeline.select(one.stop);
  history.replaceState(null, '', `#e${one.number}`);
  if (options.scroll) byId('entries').scrollIntoView({ block: 'start' });
  if (options.from !== undefined) say(`entry ${one.number}, ${one.event.name}, ${taskName(one.task)}`);
}

function showEntry(one) {
  const into = byId('entry');
  const causes = causesAt(one);
  refill(into,
    el('div', { class: 'entry-head' },
      el('h3', { id: 'entry-title' }, `#${grouped(one.number)} ${one.event.name}`),
      el('div', { class: 'bar' },
        el('button', { type: 'button', class: 'quiet', 'aria-label': 'Entry before', onclick: () => openEntry(one.row - 1, { from: 'entry' }), disabled: one.row === 0 }, '◀ before'),
        el('button', { type: 'button', class: 'quiet', 'aria-label': 'Next entry', onclick: () => openEntry(one.row + 1, { from: 'entry' }), disabled: one.row === run.rows.entries - 1 }, 'next ▶'))),
    el('p', { class: 'lead' }, sentence(one)),
    causes.map((cause) => el('div', { class: `callout ${cause.note ? 'noted' : 'wrong'}` },
      el('strong', {}, cause.note ? 'Note' : 'Finding'), ' ', prose(cause.sentence), '. ',
      el('a', { href: `#cause-${run.causes.list.indexOf(cause)}` }, 'What to do'))),
    pictureOf(one),
    wordTable(one),
    codeOf(one),
    registersOf(one),
    accountOf(one),
  );
}

/** What happened, in one sentence. */
function sentence(one) {
  const gate = one.gate;
  const origin = one.virtual8086 ? 'virtual-8086 mode' : `ring ${one.from}`;
  const article = /^(interrupt|1)/.test(gate.kind) ? (gate.kind.startsWith('i') ? 'an' : 'a') : 'a';
  const parts = [
    `${one.event.meaning ? `${one.event.name} (${one.event.meaning})` : one.event.name} in ${taskName(one.task)}: from ${origin} to ring ${one.to}, through ${article} ${gate.kind} of DPL ${gate.dpl}`,
    one.event.vector === 14 && one.event.kind === 'fault' ? `, at ${hex(one.cr2)}: ${pageFault(one.errorCode ?? 0)}` : '',
    `. Interrupted ${one.place?.name ? `in ${one.place.name}` : `at ${hex(one.eip)}`}; the handler is ${placeName(one.handler, gate.offset)}.`,
  ];
  if (one.returning) {
    const back = one.returning;
    parts.push(one.returning.to === 0 ? ' It returned to ring 0' : ` It returned to ring ${back.to}`);
    parts.push(back.eip === one.eip ? ', to where it came from.' : `, to ${hex(back.eip)}.`);
  } else {
    parts.push(' No return that pops this frame was seen.');
  }
  return parts.join('');
}

function causesAt(one) {
  const at = [one.stop, one.returning?.stop];
  return run.causes.list.filter((cause) => at.some((stop) => stop !== undefined && cause.stops.includes(stop)));
}

function pictureOf(one) {
  const holder = el('div', { class: 'drawing' });
  const note = el('p', { class: 'hint' });
  const draw = () => {
    const width = Math.max(300, Math.floor(holder.clientWidth || byId('entry').clientWidth - 36));
    const drawn = stackDrawing(one, moment, width);
    refill(holder, drawn ?? el('p', { class: 'empty' }, unknown(one)), drawn && cutIn(drawn));
    note.textContent = drawn ? remarkOn(one) : '';
  };
  const choice = el('div', { class: 'segments', role: 'radiogroup', 'aria-label': 'Moment' }, MOMENTS.map(([name, text]) => el('label', {},
    el('input', { type: 'radio', name: 'moment', value: name, checked: name === moment, onchange: () => { moment = name; draw(); } }), el('span', {}, text))));
  const figure = el('figure', { class: 'stacks' }, choice, holder, note);
  requestAnimationFrame(draw);
  watchWidth(holder, draw);
  return figure;
}

let watched = null;
function watchWidth(holder, draw) {
  watched?.disconnect();
  let last = 0;
  watched = new ResizeObserver(([change]) => {
    const width = Math.round(change.contentRect.width);
    if (width !== last) {
      last = width;
      draw();
    }
  });
  watched.observe(holder);
}

const HOW_TO_KEEP = 'esp0 run KERNEL --report PAGE.html makes a page with them.';

function unknown(one) {
  if (!one.returning) return 'No return that pops this frame was seen, so what the kernel did on its stack until then is not known.';
  return 'The stack was not looked at here: esp0 keeps whole stacks of the first entries of each kind, of those with findings, and of the last ones; '
    + `a trace without a report has none. ${HOW_TO_KEEP}`;
}

function remarkOn(one) {
  const remarks = {
    entry: 'In front of the handler’s first instruction. Nothing but the processor has written here.',
    deepest: 'Words that the kernel wrote between the entry and its IRET, with the values that they have at the IRET. A register’s name stands where a word has the value it had.',
    return: 'In front of the IRET: the words that it is going to pop.',
    after: one.changesStack ? 'IRET has popped the words. They stay in memory, and the next entry overwrites them.'
      : 'IRET has popped the words. What lies above them is still in use: the kernel goes on where it was interrupted.',
  };
  return remarks[moment];
}

/** The frame word by word: pushed, known from before, popped. */
function wordTable(one) {
  const words = frameWords(one);
  const back = one.returning;
  const popped = back && { EIP: back.eip, CS: back.cs, EFLAGS: back.eflags, ESP: back.esp, SS: back.ss, ...back.above };
  const cell = (word) => {
    if (!popped || !(word.name in popped) || (back.to === back.from && (word.name === 'SS' || word.name === 'ESP'))) return '–';
    return hex(popped[word.name], back.wordSize * 2);
  };
  return el('details', { open: true }, el('summary', {}, 'Word by word'),
    el('div', { class: 'scroll-x', tabindex: 0, role: 'region', 'aria-label': 'The frame word by word' }, el('table', {},
      el('thead', {}, el('tr', {}, ['address', 'word', 'pushed', 'popped by IRET', 'which says'].map((name) => el('th', { scope: 'col' }, name)))),
      el('tbody', {}, words.map((word) => {
        const out = cell(word);
        const differs = out !== '–' && out !== hex(word.value, word.digits);
        return el('tr', {}, el('td', { class: 'mono' }, hex(word.address)), el('th', { scope: 'row' }, word.name === ERROR ? 'error code' : word.name),
          el('td', { class: 'mono' }, hex(word.value, word.digits)), el('td', { class: `mono ${differs ? 'differs' : ''}` }, out, differs ? el('span', { class: 'unseen' }, ' differs') : ''),
          el('td', {}, word.full ?? word.note));
      })))));
}

/** Disassembly and source of one place. */
function codeBlock(title, place, address, options = {}) {
  if (!place || (!place.code?.length && !place.source)) return null;
  // No two regions of the page have one name.
  const name = [[title, placeName(place, address)].filter(Boolean).join(' '), options.of].filter(Boolean).join(', ');
  const lines = place.source && options.source !== false && el('div', { class: 'scroll-x', tabindex: 0, role: 'region', 'aria-label': `Source, ${name}` }, el('pre', { class: 'code source' },
    place.source.lines.map((text, index) => {
      const number = place.source.first + index;
      const here = number === place.source.line;
      return el('span', { class: here ? 'here' : '' }, `${here ? '►' : ' '} ${String(number).padStart(4)}  ${text}`);
    })));
  const code = place.code?.length > 0 && options.code !== false && el('div', { class: 'scroll-x', tabindex: 0, role: 'region', 'aria-label': `Instructions, ${name}` }, el('pre', { class: 'code' },
    place.code.map(([at, raw, text]) => {
      const here = parseInt(at, 16) === parseInt(place.at ?? hex(address), 16);
      return el('span', { class: here ? 'here' : '' }, `${here ? '►' : ' '} ${at}  `, el('span', { class: 'raw' }, `${raw.padEnd(21)} `), text);
    })));
  return el('div', { class: 'place' }, el('h4', {}, title, ' ', el('code', {}, placeName(place, address))),
    lines && el('p', { class: 'hint' }, `${place.source.path}${place.source.newer ? ' (newer than the kernel: lines may have moved)' : ''}`), lines || null, code || null);
}

function codeOf(one) {
  const blocks = [
    codeBlock('interrupted at', one.place, one.eip, { of: `entry ${one.number}` }),
    codeBlock('handler', one.handler, one.gate.offset, { of: `entry ${one.number}` }),
    one.returning && codeBlock('IRET', one.returning.place, 0, { of: `entry ${one.number}` }),
  ].filter(Boolean);
  if (blocks.length === 0) return null;
  return el('details', { open: true }, el('summary', {}, 'Code'), el('div', { class: 'places' }, blocks));
}

function registersOf(one) {
  const all = [['EAX', one.eax], ['ECX', one.ecx], ['EDX', one.edx], ['EBX', one.ebx], ['EBP', one.ebp], ['ESI', one.esi], ['EDI', one.edi],
    ['ESP', one.espAfter], ['SS', one.ssAfter, 4], ['DS', one.ds, 4], ['ES', one.es, 4], ['FS', one.fs, 4], ['GS', one.gs, 4], ['TR', one.tr, 4],
    ['CR2', one.cr2], ['CR3', one.cr3], ['EFLAGS', one.after]];
  return el('details', {}, el('summary', {}, 'Registers in front of the handler'), el('dl', { class: 'registers' },
    all.map(([name, value, digits]) => el('div', {}, el('dt', {}, name), el('dd', { class: 'mono' }, hex(value, digits ?? 8))))));
}

function accountOf(one) {
  const account = run.accounts?.[`e${one.number}`];
  const back = one.returning && run.accounts?.[`r${one.returning.after}`];
  if (!account && !back) return null;
  const block = (title, text) => text && el('div', {}, el('h4', {}, title), el('div', { class: 'scroll-x', tabindex: 0, role: 'region', 'aria-label': title }, el('pre', { class: 'code' }, text)));
  return el('details', {}, el('summary', {}, 'The model’s account'), block('the entry', account), block('its IRET', back));
}
