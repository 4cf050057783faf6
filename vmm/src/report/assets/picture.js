// The drawing of stacks: one way to draw a word, an arrow, a place on a stack, for every picture of the page.
// Pictures are as wide as the space they get and one unit is one pixel, so that text has its size on a
// telephone too. High addresses are above, as on the terminal:
//
//    ESP0 ──►  f0008000  ┌─────────────────────┐
//              f0007ffc  │ SS      00000023    │
//              …
//    ESP  ──►  f0007fec  │ EIP     08048e6f    │
//                        └─────────────────────┘

const ROW = 24;
const ADDRESS = 74;

/** A whole picture, with what it shows in words. */
function picture(width, height, title, ...children) {
  const id = `picture-${picture.count = (picture.count ?? 0) + 1}`;
  return svg('svg', {
    viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-labelledby': id, class: 'picture',
  }, svg('title', { id }, title), children);
}

function label(x, y, text, className = '', anchor = 'start') {
  return svg('text', { x, y, class: `label ${className}`, 'text-anchor': anchor }, text);
}

let pen = null;
/** How wide a text becomes, by the style's fonts. */
function widthOf(text, className) {
  if (pen === null) {
    const style = getComputedStyle(document.documentElement);
    pen = { on: document.createElement('canvas').getContext('2d'), sans: style.getPropertyValue('--sans'), mono: style.getPropertyValue('--mono') };
  }
  const mono = className.includes('mono');
  const size = className.includes('tiny') ? 11 : mono || className.includes('small') ? 12 : 13;
  pen.on.font = `${/strong|on-bar/.test(className) ? 600 : 400} ${size}px ${mono ? pen.mono : pen.sans}`;
  return pen.on.measureText(text).width;
}

/** As much of a text as there is room for; the whole as a tooltip, and for `cutIn`. Of several that say the same the first that fits. */
function fitted(x, y, texts, room, className = '', anchor = 'start') {
  const all = [texts].flat().filter(Boolean);
  const fits = all.find((text) => widthOf(text, className) <= room);
  const text = fits ?? all.at(-1);
  if (fits === all[0]) return label(x, y, fits, className, anchor);
  if (fits !== undefined) {
    const node = label(x, y, fits, className, anchor);
    node.append(svg('title', {}, all[0]));
    return node;
  }
  let letters = Math.max(1, Math.min(text.length - 1, Math.floor(room / 5)));
  while (letters > 1 && widthOf(`${text.slice(0, letters)}…`, className) > room) letters -= 1;
  const node = label(x, y, `${text.slice(0, letters)}…`, className, anchor);
  node.append(svg('title', {}, all[0]));
  node.setAttribute('data-whole', all[0]);
  return node;
}

/** Says of which word a text is. */
function of(word, node) {
  node.setAttribute('data-of', word.name || hex(word.address));
  return node;
}

/** The texts of a picture that there was no room for, in full, to stand below it; nothing if there was room for all. */
function cutIn(drawn) {
  const cut = [...drawn.querySelectorAll('[data-whole]')];
  return cut.length > 0 && el('dl', { class: 'whole' }, cut.map((node) => el('div', {},
    el('dt', {}, node.dataset.of ?? ''), el('dd', {}, node.dataset.whole))));
}

/** So much room the names and values of a box take, beside its notes. */
const besideNotes = (word) => 68 + (word.digits === 4 ? 34 : 63) + 6;

/**
 * Words of a stack as a box, the highest address first. A word has an `address`, a `name`, a `value`
 * (a number, or none if it is not known), a `note`, and a `kind` that says who put it there.
 */
function wordBox(x, y, width, words, options = {}) {
  const group = svg('g', {});
  const names = options.names ?? 68;
  const value = x + names;
  words.forEach((word, index) => {
    const top = y + index * ROW;
    if (word.gap) {
      group.append(
        svg('rect', { x, y: top, width, height: ROW, class: 'word gap' }),
        label(x + width / 2, top + 16, word.gap, 'muted small', 'middle'),
      );
      return;
    }
    group.append(svg('rect', { x, y: top, width, height: ROW, class: `word ${word.kind ?? ''} ${word.wrong ? 'wrong' : ''}` }));
    if (options.addresses !== false) group.append(label(x - 6, top + 16, hex(word.address), 'mono muted', 'end'));
    group.append(fitted(x + 7, top + 16, word.name ?? '', names - 8, 'strong'));
    if (word.kind !== 'ghost') group.append(label(value, top + 16, hex(word.value ?? null, word.digits), 'mono'));
    const note = word.kind === 'ghost' ? x + 7 : value + (word.digits === 4 ? 34 : 63);
    if (word.note) group.append(of(word, fitted(note, top + 16, [word.note, word.shorter], x + width - note - 4, 'small')));
  });
  return group;
}

let arrows = 0;
/** An arrow along points, with a head at its end. */
function arrow(points, className = '') {
  const [[x0, y0], [x1, y1]] = points.slice(-2);
  const angle = Math.atan2(y1 - y0, x1 - x0);
  const head = [0.45, -0.45].map((turn) => `${x1 - 8 * Math.cos(angle + turn)},${y1 - 8 * Math.sin(angle + turn)}`);
  arrows += 1;
  return svg('g', { class: `arrow ${className}` },
    svg('polyline', { points: points.map((point) => point.join(',')).join(' '), class: 'line' }),
    svg('polygon', { points: `${x1},${y1} ${head.join(' ')}`, class: 'head' }));
}

/** A pointer from the left to the line between two words. */
function pointer(x, y, name, room = 40, className = '') {
  return [label(x - room - 4, y + 4, name, `strong ${className}`, 'end'), arrow([[x - room, y], [x, y]], className)];
}

/** A box with a heading and rows of name and value: the TSS. */
function record(x, y, width, heading, rows) {
  const group = svg('g', {}, svg('rect', { x, y, width, height: ROW * (rows.length + 1), class: 'record', rx: 4 }),
    label(x + width / 2, y + 16, heading, 'strong', 'middle'));
  rows.forEach(([name, value, className], index) => {
    const top = y + ROW * (index + 1);
    group.append(svg('rect', { x, y: top, width, height: ROW, class: `word ${className ?? ''}` }),
      label(x + 7, top + 16, name, 'strong'), label(x + width - 7, top + 16, value, 'mono', 'end'));
  });
  return group;
}

/** A number in a circle, for a step that is told beside the picture. */
function step(x, y, number) {
  return svg('g', { class: 'step' }, svg('circle', { cx: x, cy: y, r: 9 }), label(x, y + 4.5, String(number), 'strong small', 'middle'));
}

/** How an entry uses two stacks, in one glance. The words are those of every frame, in their order. */
function legend(width) {
  const narrow = width < 640;
  const row = 22;
  const words = [...FRAME_WORDS].reverse();
  const free = (x, y, w, h) => [svg('rect', { x, y, width: w, height: h, class: 'word free' }),
    label(x + w / 2, y + h / 2 + 4, 'free', 'muted small', 'middle')];
  const title = `The processor takes SS0:${run.layout.top} from the TSS, and pushes ${words.join(', ')} of ring 3 below it.`;
  const column = narrow ? Math.min(118, (width - 40) / 2.8) : 150;
  const left = narrow ? 8 : 30;
  const right = narrow ? width - column - 8 : 470;
  const tss = narrow ? { x: (left + column + right) / 2 - 41, y: 44, w: 82 } : { x: 262, y: 44, w: 120 };
  const top = 34;
  const end = top + words.length * row;
  const used = 76;
  const esp0 = tss.y + ROW * 2.5;
  const out = tss.x + tss.w + (right - tss.x - tss.w) / 2;
  const back = end + 16;
  const parts = [
    label(left + column / 2, 18, 'user stack', 'strong', 'middle'),
    svg('rect', { x: left, y: top, width: column, height: used, class: 'word user' }),
    label(left + column / 2, top + used / 2 + 4, 'in use', 'small', 'middle'), free(left, top + used, column, 90),
    label(right + column / 2, 18, 'kernel stack', 'strong', 'middle'),
    words.map((name, index) => svg('g', {}, svg('rect', { x: right, y: top + index * row, width: column, height: row, class: 'word cpu' }),
      label(right + column / 2, top + index * row + 15, name, 'strong', 'middle'))),
    free(right, end, column, 56),
    record(tss.x, tss.y, tss.w, 'TSS', [['SS0', narrow ? '' : '0010'], [run.layout.top, '']]),
    arrow([[tss.x + tss.w, esp0], [out, esp0], [out, top], [right, top]], 'ring0'),
    arrow([[right, top + row * 1.5], [right - 10, top + row * 1.5], [right - 10, back], [left + column + 10, back], [left + column + 10, top + used], [left + column, top + used]], 'ring3'),
    label((left + column + right) / 2 + (narrow ? 8 : 14), back + (narrow ? 18 : 17), narrow ? 'saved ESP' : 'the saved ESP: where ring 3 goes on', 'small', 'middle'),
    step(left + column - 12, top + used, 1), step(out, top, 2), step(right + 14, top + row / 2, 3), step(left + column + 34, back, 4),
  ];
  const texts = [
    'Something happens in ring 3: int 0x80, a fault, a timer. Its ESP is here.',
    `The processor reads SS0:${run.layout.top} from the TSS: the end of the kernel stack. It never writes them.`,
    `Below ${run.layout.top} it pushes who was interrupted: five words, one more with an error code.`,
    'IRET pops them: the kernel stack is empty again, and ring 3 has its own stack back.',
  ];
  return { drawing: picture(narrow ? width : 640, end + 64, title, parts), texts, so: `So ${run.layout.top} must name a stack that nobody else is using: each task its own.` };
}
