// The run: columns that are unpacked when first wanted, and what follows from them.

const run = JSON.parse(byId('data').textContent);
const ENTRY = 0;
const RETURN = 1;
const SWITCH = 2;
const SYSENTER = 3;
const CROSSING = 4;
const [RIGHT, DEVIATES, NOTED, WRONG] = [0, 1, 2, 3];

function unbase64(text) {
  const raw = atob(text);
  const out = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at += 1) out[at] = raw.charCodeAt(at);
  return out;
}

/** A packed column as an array; the forms are those of `columns.rs`. */
function unpack(packed, rows) {
  if ('c' in packed) return new Float64Array(rows).fill(packed.c);
  if ('r' in packed) return new Uint32Array(unbase64(packed.r).buffer);
  if ('v' in packed) return differences(unbase64(packed.v), rows);
  const values = new Uint32Array(unbase64(packed.d).buffer);
  const index = 'i' in packed ? unbase64(packed.i) : new Uint16Array(unbase64(packed.j).buffer);
  const out = new Uint32Array(rows);
  for (let row = 0; row < rows; row += 1) out[row] = values[index[row]];
  return out;
}

function differences(packed, rows) {
  const out = new Float64Array(rows);
  let at = 0;
  let last = 0;
  for (let row = 0; row < rows; row += 1) {
    let value = 0;
    let unit = 1;
    let byte;
    do {
      byte = packed[at++];
      value += (byte & 0x7f) * unit;
      unit *= 128;
    } while (byte & 0x80);
    last += value % 2 === 0 ? value / 2 : -(value + 1) / 2;
    out[row] = last;
  }
  return out;
}

function lazily(packed, rows) {
  const known = new Map();
  return (name) => {
    if (!known.has(name)) known.set(name, unpack(packed[name], rows));
    return known.get(name);
  };
}

/** Columns of all stops, of entries, of returns: `stops('task')[row]`. */
const stops = lazily(run.stops, run.rows.stops);
const entries = lazily(run.entries, run.rows.entries);
const returns = lazily(run.returns, run.rows.returns);

/** The row of each stop among those of its kind, and the stop of each entry. */
const rowOf = new Int32Array(run.rows.stops);
const stopOf = new Int32Array(run.rows.entries);
const stopOfReturn = new Int32Array(run.rows.returns);
{
  const kind = stops('kind');
  const count = [0, 0, 0, 0, 0];
  for (let stop = 0; stop < kind.length; stop += 1) {
    const what = kind[stop];
    if (what === ENTRY) stopOf[count[ENTRY]] = stop;
    if (what === RETURN) stopOfReturn[count[RETURN]] = stop;
    rowOf[stop] = count[what]++;
  }
}

let popped = null;
/** The return that pops the frame of the entry at `stop`, as a row of `returns`; -1 if none was seen. */
function returnOf(stop) {
  if (popped === null) {
    popped = new Int32Array(run.rows.stops).fill(-1);
    const pops = returns('pops');
    for (let row = 0; row < pops.length; row += 1) if (pops[row] > 0) popped[pops[row] - 1] = row;
  }
  return popped[stop];
}

let numbered = null;
/** The entry with a number, as a row of `entries`; -1 if the trace has none. */
function entryNumbered(number) {
  const numbers = stops('number');
  const guess = number - 1;
  if (guess >= 0 && guess < stopOf.length && numbers[stopOf[guess]] === number) return guess;
  if (numbered === null) {
    numbered = new Map();
    stopOf.forEach((stop, row) => numbered.set(numbers[stop], row));
  }
  return numbered.get(number) ?? -1;
}

/** The last entry at or before a stop, as a row; -1 before the first. */
function entryBefore(stop) {
  for (let at = Math.min(stop, rowOf.length - 1); at >= 0; at -= 1) if (stops('kind')[at] === ENTRY) return rowOf[at];
  return -1;
}

/** All about one entry, by name. */
function entryAt(row) {
  const stop = stopOf[row];
  const shape = entries('shape')[row];
  const number = stops('number')[stop];
  const one = {
    row,
    stop,
    number,
    event: run.events[entries('event')[row]],
    errorCode: shape & 1 ? entries('error')[row] : null,
    changesStack: (shape & 2) !== 0,
    wordSize: shape & 4 ? 2 : 4,
    virtual8086: (shape & 8) !== 0,
    gate: gateOf(entries('gateLow')[row], entries('gateHigh')[row]),
    place: run.places[entries('place')[row] - 1] ?? null,
    handler: run.places[entries('handler')[row] - 1] ?? null,
    detail: run.details[number] ?? null,
    task: stops('task')[stop],
    from: stops('from')[stop],
    to: stops('to')[stop],
    judged: stops('judged')[stop],
  };
  for (const name of ['time', 'address', 'ss', 'esp', 'eflags', 'cs', 'eip']) one[name] = stops(name)[stop];
  for (const name of ['after', 'ssAfter', 'espAfter', 'ss0', 'esp0', 'eax', 'ecx', 'edx', 'ebx', 'ebp', 'esi', 'edi',
    'ds', 'es', 'fs', 'gs', 'tr', 'cr2', 'cr3']) one[name] = entries(name)[row];
  one.above = one.virtual8086 ? aboveSs(stop) : null;
  for (const name of run.unreadWords[stop] ?? []) one[name] = null;
  const returning = returnOf(stop);
  one.returning = returning < 0 ? null : returnAt(returning);
  return one;
}

/** All about one return. */
function returnAt(row) {
  const stop = stopOfReturn[row];
  const one = {
    row,
    stop,
    after: stops('number')[stop],
    task: stops('task')[stop],
    from: stops('from')[stop],
    to: stops('to')[stop],
    judged: stops('judged')[stop],
    place: run.places[returns('place')[row] - 1] ?? null,
    detail: run.returnDetails[row] ?? null,
    at: returns('at')[row],
    pops: returns('pops')[row] - 1,
    wordSize: returns('shape')[row] & 4 ? 2 : 4,
  };
  for (const name of ['address', 'ss', 'esp', 'eflags', 'cs', 'eip']) one[name] = stops(name)[stop];
  one.above = returns('shape')[row] & 8 ? aboveSs(stop) : null;
  for (const name of run.unreadWords[stop] ?? []) one[name] = null;
  return one;
}

/** The words above SS, which only a frame of virtual-8086 mode has. */
const aboveSs = (stop) => Object.fromEntries(run.layout.above.map((name) => [name, stops(name.toLowerCase())[stop]]));

const taskName = (task) => (task === 0 ? 'no task' : `task ${task}`);

function switchName(one) {
  if (one?.by === 'gate') return `task gate ${one.vector}`;
  return one?.by === 'iret' ? 'IRET to a task' : 'task switch';
}

/** What happened at a stop, in a few words. */
function stopName(stop) {
  const number = stops('number')[stop];
  switch (stops('kind')[stop]) {
    case ENTRY: return `#${number} ${run.events[entries('event')[rowOf[stop]]].name}`;
    case RETURN: return `IRET after #${number}`;
    case SYSENTER: return `SYSENTER after #${number}`;
    case CROSSING: return run.crossings[stop].way === 'call' ? `call gate ${run.crossings[stop].gate} after #${number}` : `far RET after #${number}`;
    default: return `${switchName(run.switches[stop])} after #${number}`;
  }
}

/** `timer+12 (kernel.c:40)` or the address. */
function placeName(place, address) {
  return place && place.name ? place.name.replace(/\+0(?= |,|$)/, '') : hex(address);
}

/** The same for a narrow column: without the program and the modules. */
function shortPlace(place, address) {
  return placeName(place, address).replace(/^[\w.-]+: /, '').replace(/^(?:\w+::)+/, '');
}

/** The gate's fields (SDM vol. 3A, IDT descriptors). */
function gateOf(low, high) {
  const kinds = { 5: 'task gate', 6: '16-bit interrupt gate', 7: '16-bit trap gate', 14: 'interrupt gate', 15: 'trap gate' };
  return {
    offset: (high & 0xffff0000 | low & 0xffff) >>> 0,
    selector: low >>> 16,
    dpl: high >>> 13 & 3,
    kind: kinds[high >>> 8 & 15] ?? `gate of type ${high >>> 8 & 31}`,
  };
}
