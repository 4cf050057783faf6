// Who ran where, from the whole run down to one entry. Each stop, an entry, an IRET or a task switch, is one
// step to the right; what ran after it is a bar in its task's lane, ring 3 or ring 0.
//
// Where several stops share a pixel, a bar's height is their share of it, so a lane that is seldom used looks
// so. A lane is one path, whatever the run's length.

const LANE = 15;
const LANE_GAP = 7;
const HEAD = 26;
const MOST_TASKS = 40;
/** Pixels of a printed page between its margins. */
const PAPER = 680;

const timeline = {
  from: 0,
  to: Math.max(1, run.rows.stops),
  selected: -1,

  build(into) {
    if (run.rows.stops === 0) {
      into.append(el('p', { class: 'empty' }, 'No entry and no return was seen.'));
      return;
    }
    this.lanes = lanesOf();
    this.labels = window.innerWidth < 640 ? 84 : 108;
    const button = (text, name, action) => el('button', { type: 'button', class: 'quiet', 'aria-label': name, title: name, onclick: action }, text);
    this.range = el('p', { class: 'hint', role: 'status' });
    into.append(el('div', { class: 'bar' },
      button('−', 'Zoom out', () => this.zoom(2)), button('+', 'Zoom in', () => this.zoom(0.5)),
      button('◀', 'Earlier', () => this.pan(-0.5)), button('▶', 'Later', () => this.pan(0.5)),
      button('Whole run', 'Show the whole run', () => this.show(0, run.rows.stops)), this.range));
    this.view = svg('svg', {
      class: 'timeline', tabindex: 0, role: 'application', 'aria-roledescription': 'timeline',
      'aria-label': 'Timeline by task and ring. Arrow keys move, plus and minus zoom, 0 shows the whole run, Enter opens the entry in the middle.',
      onkeydown: (event) => this.key(event),
      onpointerdown: (event) => this.press(event),
      onwheel: (event) => this.wheel(event),
      onpointermove: (event) => this.hover(event),
    });
    this.tip = svg('title', {});
    this.overview = svg('svg', { class: 'overview', 'aria-hidden': 'true', onpointerdown: (event) => this.jump(event) });
    this.box = el('div', { class: 'scroll-y' }, this.view);
    into.append(this.box, this.overview, el('p', { class: 'hint' },
      'Drag over a part to zoom into it, click a bar to open its entry. The wheel zooms with Ctrl held.'), keyOfColours());
    this.draw();
    new ResizeObserver(() => this.draw()).observe(into);
    // On paper it is as wide as that, whatever the window was.
    const paper = (printed) => () => {
      this.printed = printed;
      this.draw();
    };
    window.addEventListener('beforeprint', paper(true));
    window.addEventListener('afterprint', paper(false));
  },

  width() {
    return this.printed ? PAPER : Math.max(240, this.box.clientWidth);
  },

  show(from, to) {
    const all = run.rows.stops;
    const span = Math.max(Math.min(6, all), Math.min(all, Math.round(to - from)));
    this.from = Math.max(0, Math.min(all - span, Math.round(from)));
    this.to = this.from + span;
    this.draw();
  },

  zoom(factor, around = (this.from + this.to) / 2) {
    const middle = this.selected >= this.from && this.selected < this.to && around === (this.from + this.to) / 2 ? this.selected + 0.5 : around;
    this.show(middle - (middle - this.from) * factor, middle + (this.to - middle) * factor);
  },

  pan(share) {
    const move = Math.max(1, Math.round((this.to - this.from) * Math.abs(share))) * Math.sign(share);
    this.show(this.from + move, this.to + move);
  },

  /** Marks a stop, and shows it if it is out of sight. */
  select(stop) {
    this.selected = stop;
    if (!this.view) return;
    if (stop < this.from || stop >= this.to) {
      const half = (this.to - this.from) / 2;
      this.from = stop - half;
      this.show(stop - half, stop + half);
    } else {
      this.draw();
    }
  },

  key(event) {
    const keys = {
      ArrowLeft: () => this.pan(-0.25), ArrowRight: () => this.pan(0.25), '+': () => this.zoom(0.5), '=': () => this.zoom(0.5),
      '-': () => this.zoom(2), 0: () => this.show(0, run.rows.stops), Home: () => this.show(0, this.to - this.from),
      End: () => this.show(run.rows.stops - (this.to - this.from), run.rows.stops),
      Enter: () => this.open(this.selected >= this.from && this.selected < this.to ? this.selected : Math.floor((this.from + this.to) / 2)),
    };
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  },

  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.zoom(event.deltaY > 0 ? 1.4 : 0.7, this.stopAt(event.clientX));
  },

  stopAt(clientX) {
    const box = this.view.getBoundingClientRect();
    const share = (clientX - box.left - this.labels) / (box.width - this.labels);
    return this.from + Math.max(0, Math.min(0.9999, share)) * (this.to - this.from);
  },

  /** What is under the pointer, as a tooltip. */
  hover(event) {
    const stop = Math.floor(this.stopAt(event.clientX));
    const text = `${stopName(stop)}, then ${taskName(stops('task')[stop])} in ring ${stops('to')[stop]}`;
    if (this.tip.textContent !== text) this.tip.textContent = text;
  },

  press(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    const start = this.stopAt(event.clientX);
    const x = event.clientX;
    const lane = event.clientY;
    const brush = svg('rect', { class: 'brush', y: HEAD - 8, height: this.height - HEAD + 8, x: 0, width: 0 });
    this.view.append(brush);
    const left = this.view.getBoundingClientRect().left;
    const move = (moved) => {
      const [a, b] = [x, Math.max(left + this.labels, moved.clientX)].sort((one, other) => one - other);
      brush.setAttribute('x', a - left);
      brush.setAttribute('width', b - a);
    };
    const end = (ended) => {
      window.removeEventListener('pointermove', move);
      window.removeEventListener('pointerup', end);
      window.removeEventListener('pointercancel', end);
      brush.remove();
      if (ended.type === 'pointercancel') return;
      if (Math.abs(ended.clientX - x) < 5 && Math.abs(ended.clientY - lane) < 8) this.open(Math.floor(start));
      else if (Math.abs(ended.clientX - x) >= 5) this.show(...[start, this.stopAt(ended.clientX)].sort((one, other) => one - other));
    };
    window.addEventListener('pointermove', move);
    window.addEventListener('pointerup', end);
    window.addEventListener('pointercancel', end);
  },

  jump(event) {
    const box = this.overview.getBoundingClientRect();
    const to = (moved) => {
      const middle = (moved.clientX - box.left - this.labels) / (box.width - this.labels) * run.rows.stops;
      const half = (this.to - this.from) / 2;
      this.show(middle - half, middle + half);
    };
    to(event);
    const end = () => window.removeEventListener('pointermove', to);
    window.addEventListener('pointermove', to);
    window.addEventListener('pointerup', end, { once: true });
  },

  open(stop) {
    const row = entryBefore(stop);
    if (row >= 0) openEntry(row, { from: 'timeline' });
  },

  draw() {
    const width = this.width();
    const room = width - this.labels;
    this.height = HEAD + this.lanes.order.length * (LANE * 2 + LANE_GAP) + 4;
    const span = this.to - this.from;
    const x = (stop) => this.labels + (stop - this.from) / span * room;
    this.view.setAttribute('width', width);
    this.view.setAttribute('height', this.height);
    this.view.setAttribute('viewBox', `0 0 ${width} ${this.height}`);
    this.view.replaceChildren(this.tip, ...this.frame(width), ...this.bars(this.from, this.to, x, room),
      ...this.marks(x, room), ...this.selection(x));
    const all = run.rows.stops;
    this.range.textContent = span === all
      ? `${plural(all, 'stop')}: entries, ${Object.keys(run.sysenters).length > 0 ? 'SYSENTERs, ' : ''}${Object.keys(run.crossings).length > 0 ? 'calls by call gates, ' : ''}IRETs and task switches in their order`
      : `stops ${grouped(this.from + 1)} to ${grouped(this.to)} of ${grouped(all)}`;
    this.drawOverview(width, room);
  },

  frame(width) {
    return this.lanes.order.flatMap((task, index) => {
      const y = HEAD + index * (LANE * 2 + LANE_GAP);
      return [
        svg('rect', { x: this.labels, y, width: width - this.labels, height: LANE, class: 'lane' }),
        svg('rect', { x: this.labels, y: y + LANE, width: width - this.labels, height: LANE, class: 'lane' }),
        label(6, y + LANE + 4, this.lanes.name(task), 'strong small'),
        label(this.labels - 6, y + 11, this.labels < 100 ? '3' : 'ring 3', 'muted tiny', 'end'),
        label(this.labels - 6, y + LANE + 11, this.labels < 100 ? '0' : 'ring 0', 'muted tiny', 'end'),
      ];
    });
  },

  bars(from, to, x, room) {
    const [task, ring] = [stops('task'), stops('to')];
    const paths = new Map();
    const add = (lane, text) => paths.set(lane, (paths.get(lane) ?? '') + text);
    const laneOf = (stop) => this.lanes.index(task[stop]) * 2 + (ring[stop] === 0 ? 1 : 0);
    const labels = [];
    const yOf = (lane) => HEAD + (lane >> 1) * (LANE * 2 + LANE_GAP) + (lane & 1) * LANE;
    const per = (to - from) / room;
    if (per <= 0.5) {
      for (let stop = from; stop < to; stop += 1) {
        const lane = laneOf(stop);
        const [left, right] = [x(stop), x(stop + 1)];
        add(lane, `M${left + 0.5},${yOf(lane) + 1}H${right - 0.5}V${yOf(lane) + LANE - 1}H${left + 0.5}Z`);
        if (right - left > 70) labels.push(fitted(left + 4, yOf(lane) + 11, stopName(stop), right - left - 6, 'tiny on-bar'));
      }
    } else {
      const count = new Float64Array(this.lanes.order.length * 2);
      for (let pixel = 0; pixel < room; pixel += 1) {
        const [first, last] = [from + Math.floor(pixel * per), Math.min(to, Math.max(from + Math.floor((pixel + 1) * per), from + Math.floor(pixel * per) + 1))];
        count.fill(0);
        const step = Math.max(1, Math.floor((last - first) / 64));
        let looked = 0;
        for (let stop = first; stop < last; stop += step) {
          count[laneOf(stop)] += 1;
          looked += 1;
        }
        for (let lane = 0; lane < count.length; lane += 1) {
          if (count[lane] === 0) continue;
          const height = Math.max(2, count[lane] / looked * (LANE - 2));
          const bottom = yOf(lane) + LANE - 1;
          add(lane, `M${this.labels + pixel},${(bottom - height).toFixed(1)}h1V${bottom}h-1Z`);
        }
      }
    }
    return [...[...paths].map(([lane, d]) => svg('path', { d, class: lane & 1 ? 'ran ring0' : 'ran ring3' })), ...labels];
  },

  /** Where something was found, above the lanes. */
  marks(x, room) {
    const seen = new Set();
    const out = [];
    for (const cause of run.causes.list) {
      for (const stop of cause.stops) {
        if (stop < this.from || stop >= this.to) continue;
        const at = Math.min(this.labels + room - 5, Math.round(x(stop + (this.to - this.from > room ? 0 : 0.5))));
        if (seen.has(at >> 2)) continue;
        seen.add(at >> 2);
        out.push(svg('path', { d: `M${at - 5},8h10l-5,9Z`, class: cause.note ? 'found note' : 'found' },
          svg('title', {}, `${stopName(stop)}: ${cause.sentence}`)));
        out.push(svg('line', { x1: at, x2: at, y1: 17, y2: this.height, class: cause.note ? 'found-line note' : 'found-line' }));
      }
    }
    return out;
  },

  selection(x) {
    if (this.selected < this.from || this.selected >= this.to) return [];
    const [left, right] = [x(this.selected), Math.max(x(this.selected + 1), x(this.selected) + 2)];
    return [svg('rect', { x: left, y: HEAD - 4, width: right - left, height: this.height - HEAD + 2, class: 'selected' })];
  },

  drawOverview(width, room) {
    const height = 22;
    this.overview.setAttribute('width', width);
    this.overview.setAttribute('height', height);
    if (this.ground?.width !== width) this.ground = { width, path: overviewPath(this.labels, room, height) };
    const all = run.rows.stops;
    const left = this.labels + this.from / all * room;
    const right = this.labels + this.to / all * room;
    this.overview.replaceChildren(
      svg('rect', { x: this.labels, y: 0, width: room, height, class: 'lane' }),
      svg('path', { d: this.ground.path, class: 'ran ring0' }),
      label(this.labels - 6, 15, 'all', 'muted tiny', 'end'),
      svg('rect', { x: left, y: 0.5, width: Math.max(3, right - left), height: height - 1, class: 'window' }));
  },
};

/** How much of each pixel's stops went to ring 0. */
function overviewPath(left, room, height) {
  const ring = stops('to');
  const per = ring.length / room;
  let path = '';
  for (let pixel = 0; pixel < room; pixel += 1) {
    const [first, last] = [Math.floor(pixel * per), Math.max(Math.floor(pixel * per) + 1, Math.floor((pixel + 1) * per))];
    const step = Math.max(1, Math.floor((last - first) / 32));
    let [inside, looked] = [0, 0];
    for (let stop = first; stop < Math.min(last, ring.length); stop += step) {
      inside += ring[stop] === 0 ? 1 : 0;
      looked += 1;
    }
    const tall = looked === 0 ? 0 : inside / looked * height;
    if (tall > 0) path += `M${left + pixel},${(height - tall).toFixed(1)}h1V${height}h-1Z`;
  }
  return path;
}

/** Which tasks have a lane of their own: the busiest, in the order of their numbers; the rest share one. */
function lanesOf() {
  const task = stops('task');
  const count = new Map();
  for (let stop = 0; stop < task.length; stop += 1) count.set(task[stop], (count.get(task[stop]) ?? 0) + 1);
  const busiest = [...count].sort((one, other) => other[1] - one[1]).map(([name]) => name);
  const own = busiest.slice(0, MOST_TASKS).sort((one, other) => (one || Infinity) - (other || Infinity));
  const index = new Map(own.map((name, position) => [name, position]));
  const rest = busiest.length - own.length;
  if (rest > 0) own.push(-1);
  return {
    order: own,
    index: (name) => index.get(name) ?? own.length - 1,
    name: (name) => (name === -1 ? `${rest} more` : taskName(name)),
  };
}

function keyOfColours() {
  const item = (className, text) => el('li', {}, svg('svg', { width: 14, height: 12, 'aria-hidden': 'true' },
    svg('rect', { width: 14, height: 12, class: className })), ` ${text}`);
  return el('ul', { class: 'key' }, item('ran ring3', 'in ring 3'), item('ran ring0', 'in ring 0, the kernel'), item('found', 'a finding'));
}
