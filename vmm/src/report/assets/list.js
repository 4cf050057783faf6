// The entries as a list of which only what is seen is in the document, and the search through it.

const LINE = 28;
const TALLEST = 8_000_000;

const list = {
  /** Rows of entries that are shown; all if there is no search. */
  rows: null,
  current: -1,

  build(into) {
    this.body = el('div', { class: 'grid-body', role: 'rowgroup' });
    this.space = el('div', { class: 'grid-space', role: 'presentation' }, this.body);
    this.head = el('div', { role: 'rowgroup', class: 'grid-head' }, el('div', { role: 'row', 'aria-rowindex': 1, class: 'line head' },
      ['#', 'task', 'event', 'ring', 'interrupted at', ''].map((name, index) => el('div', { role: 'columnheader', class: `c${index}` },
        name || el('span', { class: 'unseen' }, 'judged')))));
    this.grid = el('div', {
      id: 'grid', role: 'grid', tabindex: 0, class: 'grid', 'aria-label': 'Entries', onkeydown: (event) => this.key(event),
      onscroll: () => this.paint(), onclick: (event) => this.click(event),
    }, this.head, this.space);
    this.count = el('p', { class: 'hint', role: 'status' });
    this.filters = el('div', { class: 'bar chips' });
    into.append(this.filters, this.count, this.grid, this.legend());
    byId('search').setAttribute('aria-controls', 'grid');
    this.chips();
    this.show(null);
    new ResizeObserver(() => this.paint()).observe(this.grid);
  },

  /** One click for what is most often looked for. */
  chips() {
    const count = new Map();
    const event = entries('event');
    for (let row = 0; row < event.length; row += 1) count.set(event[row], (count.get(event[row]) ?? 0) + 1);
    const chip = (text, query) => el('button', { type: 'button', class: 'chip', onclick: () => search.set(query) }, text);
    this.filters.append(chip('all', ''));
    if (stops('judged').includes(WRONG)) this.filters.append(chip('with a finding', 'finding'));
    [...count].sort((one, other) => other[1] - one[1]).slice(0, 5).forEach(([index, times]) => {
      const one = run.events[index];
      const query = one.kind === 'int' || one.kind === 'external' ? `${one.kind} 0x${hex(one.vector, 2)}` : one.name;
      this.filters.append(chip(`${one.name} · ${grouped(times)}`, query));
    });
  },

  /** What the marks of the last column mean, of those that occur. */
  legend() {
    const seen = new Set(stopOf.map((stop) => stops('judged')[stop]));
    const text = MARKS.filter(({ mark }, judged) => mark && seen.has(judged)).map(({ mark, text }) => `${mark} ${text}`).join(', ');
    return el('p', { class: 'hint', 'aria-hidden': 'true' }, text);
  },

  length() {
    return this.rows === null ? run.rows.entries : this.rows.length;
  },

  row(index) {
    return this.rows === null ? index : this.rows[index];
  },

  indexOf(row) {
    if (this.rows === null) return row;
    let [low, high] = [0, this.rows.length];
    while (low < high) {
      const middle = low + high >> 1;
      if (this.rows[middle] < row) low = middle + 1;
      else high = middle;
    }
    return this.rows[low] === row ? low : -1;
  },

  show(rows) {
    this.rows = rows;
    const length = this.length();
    this.grid.setAttribute('aria-rowcount', length + 1);
    this.tall = Math.min(length * LINE, TALLEST);
    this.space.style.height = `${this.tall}px`;
    this.count.textContent = rows === null ? plural(length, 'entry', 'entries') : `${grouped(length)} of ${plural(run.rows.entries, 'entry', 'entries')}`;
    this.painted = null;
    this.grid.scrollTop = 0;
    this.reveal(this.current);
    this.paint();
  },

  /** Where the list is scrolled to, as an index; lists too tall for a browser are compressed. */
  first() {
    const length = this.length();
    const window = this.grid.clientHeight - LINE;
    const most = Math.max(1, this.tall - window);
    const share = Math.min(1, this.grid.scrollTop / most);
    return this.tall < length * LINE ? share * (length - window / LINE) : this.grid.scrollTop / LINE;
  },

  paint() {
    const length = this.length();
    const first = Math.max(0, Math.floor(this.first()) - 4);
    const many = Math.ceil(this.grid.clientHeight / LINE) + 8;
    const last = Math.min(length, first + many);
    const key = `${first} ${last} ${this.current} ${this.grid.scrollTop}`;
    if (this.painted === key) return;
    this.painted = key;
    const compressed = this.tall < length * LINE;
    const offset = compressed ? this.grid.scrollTop - (this.first() - first) * LINE : first * LINE;
    this.body.style.transform = `translateY(${offset}px)`;
    const lines = [];
    for (let index = first; index < last; index += 1) lines.push(this.line(index));
    this.body.replaceChildren(...lines);
    const active = this.current >= 0 && byId(`line-${this.current}`) ? `line-${this.current}` : '';
    if (active) this.grid.setAttribute('aria-activedescendant', active);
    else this.grid.removeAttribute('aria-activedescendant');
  },

  line(index) {
    const row = this.row(index);
    const stop = stopOf[row];
    const event = run.events[entries('event')[row]];
    const judged = stops('judged')[stop];
    const place = run.places[entries('place')[row] - 1];
    const noTask = stops('task')[stop] === 0 ? taskName(0) : null;
    const cells = [
      grouped(stops('number')[stop]), noTask ? '' : stops('task')[stop], event.name, `${stops('from')[stop]}→${stops('to')[stop]}`,
      shortPlace(place, stops('eip')[stop]), MARKS[judged].mark,
    ];
    return el('div', {
      role: 'row', id: `line-${row}`, class: `line judged-${judged}`, 'aria-rowindex': index + 2, 'aria-selected': row === this.current ? 'true' : 'false', 'data-row': row,
    }, cells.map((text, column) => el('div', { role: 'gridcell', class: `c${column}`, title: [null, noTask, null, null, placeName(place, stops('eip')[stop])][column] }, String(text),
      column === 1 && noTask ? [el('span', { 'aria-hidden': 'true' }, '–'), el('span', { class: 'unseen' }, noTask)] : null,
      column === 5 ? el('span', { class: 'unseen' }, MARKS[judged].text) : null)));
  },

  click(event) {
    const line = event.target.closest('[data-row]');
    if (line) openEntry(Number(line.dataset.row), { from: 'list' });
  },

  key(event) {
    const page = Math.max(1, Math.floor(this.grid.clientHeight / LINE) - 2);
    const at = this.current < 0 ? -1 : this.indexOf(this.current);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.length() - 1 };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Enter') {
      event.preventDefault();
      if (at < 0 && this.length() > 0) openEntry(this.row(0), { from: 'list' });
      byId('entry').focus();
      byId('entry').scrollIntoView({ block: 'nearest' });
      return;
    }
    if (!(event.key in moves) || this.length() === 0) return;
    event.preventDefault();
    openEntry(this.row(Math.max(0, Math.min(this.length() - 1, moves[event.key]))), { from: 'list' });
  },

  /** Marks an entry, and scrolls to it where it is shown at all. */
  reveal(row) {
    this.current = row;
    const index = row < 0 ? -1 : this.indexOf(row);
    if (index >= 0) {
      const length = this.length();
      const window = this.grid.clientHeight - LINE;
      if (this.tall < length * LINE) {
        const first = this.first();
        if (index < first || index > first + window / LINE - 1) {
          this.grid.scrollTop = (index - 2) / Math.max(1, length - window / LINE) * (this.tall - window);
        }
      } else {
        const top = index * LINE;
        if (top < this.grid.scrollTop) this.grid.scrollTop = top;
        else if (top + LINE > this.grid.scrollTop + window) this.grid.scrollTop = top + LINE - window;
      }
    }
    this.paint();
  },
};

const MARKS = [
  { mark: '', text: 'right' },
  { mark: '·', text: 'right, with a known deviation of the processor below' },
  { mark: '○', text: 'noted' },
  { mark: '✗', text: 'finding' },
];

const search = {
  build() {
    this.input = byId('search');
    let timer = 0;
    this.input.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.find(), 120);
    });
    this.input.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') {
        clearTimeout(timer);
        this.find();
        if (list.length() > 0) {
          const current = list.current < 0 ? -1 : list.indexOf(list.current);
          openEntry(list.row(current < 0 ? 0 : current), { from: 'search' });
          byId('entries').scrollIntoView({ block: 'start' });
          list.grid.focus({ preventScroll: true });
        }
      } else if (event.key === 'Escape') {
        this.set('');
      }
    });
    byId('search-help').textContent = 'The search takes a vector (0x80, #PF), a task (task 2), a function’s or a file’s name, an address, '
      + 'an entry’s number (#12), finding or note, and several of them at once.';
  },

  set(text) {
    this.input.value = text;
    this.find();
    byId('entries').scrollIntoView({ block: 'start' });
  },

  find() {
    const tests = parse(this.input.value);
    if (tests.length === 0) {
      list.show(null);
      return;
    }
    const found = [];
    for (let row = 0; row < run.rows.entries; row += 1) if (tests.every((test) => test(row, stopOf[row]))) found.push(row);
    list.show(Int32Array.from(found));
    say(list.count.textContent);
  },
};

/** What is asked for, as tests of an entry. */
function parse(text) {
  const words = text.trim().toLowerCase().replace(/\b(task|ring|vector|entry)\s*[:=]?\s*(?=[0-9])/g, '$1:').replace(/\b(int|external)\s+(?=0x|[0-9a-f]{1,2}h?\b)/g, '$1:')
    .split(/\s+/).filter(Boolean);
  return words.map(test);
}

function test(word) {
  const [, name, value] = /^(task|ring|vector|entry|int|external):(.+)$/.exec(word) ?? [];
  const number = /^#?(\d+)$/.exec(name === 'entry' ? value : word);
  const vector = (digits) => parseInt(digits.replace(/^0x/, '').replace(/h$/, ''), 16);
  if (name === 'task') return (row, stop) => stops('task')[stop] === Number(value);
  if (name === 'ring') return (row, stop) => stops('from')[stop] === Number(value);
  if (name === 'vector') return (row) => run.events[entries('event')[row]].vector === vector(value);
  if (name === 'int' || name === 'external') {
    return (row) => run.events[entries('event')[row]].kind === name && run.events[entries('event')[row]].vector === vector(value);
  }
  if (number) return (row, stop) => stops('number')[stop] === Number(number[1]);
  if (word === 'finding' || word === 'findings') return (row, stop) => judgedOf(row, stop) === WRONG;
  if (word === 'note' || word === 'notes') return (row, stop) => judgedOf(row, stop) === NOTED;
  if (word === 'deviation' || word === 'deviations') return (row, stop) => judgedOf(row, stop) === DEVIATES;
  if (/^0x[0-9a-f]{1,2}$|^[0-9a-f]{2}h$/.test(word)) return (row) => run.events[entries('event')[row]].vector === vector(word);
  if (/^(0x[0-9a-f]{3,8}|[0-9a-f]{8})$/.test(word)) {
    const address = parseInt(word.replace(/^0x/, ''), 16);
    const parts = [stops('eip'), stops('esp'), stops('address')];
    const own = [entries('esp0'), entries('espAfter'), entries('cr2'), entries('gateLow'), entries('gateHigh')];
    return (row, stop) => parts.some((part) => part[stop] === address) || own.slice(0, 3).some((part) => part[row] === address)
      || (own[4][row] & 0xffff0000 | own[3][row] & 0xffff) >>> 0 === address;
  }
  const wanted = (text) => text.toLowerCase().includes(word);
  const events = run.events.map((event) => wanted(event.name) || wanted(event.meaning) || wanted(event.kind));
  const places = [false, ...run.places.map((place) => wanted(place.name ?? ''))];
  return (row) => events[entries('event')[row]] || places[entries('place')[row]] || places[entries('handler')[row]];
}

/** The worst of an entry and its return. */
function judgedOf(row, stop) {
  const returning = returnOf(stop);
  return returning < 0 ? stops('judged')[stop] : Math.max(stops('judged')[stop], stops('judged')[stopOfReturn[returning]]);
}
