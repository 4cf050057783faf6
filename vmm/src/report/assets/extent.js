// How far a stack reaches: where it is empty, where it begins, how deep it was used. Nobody tells the page; it
// follows from ESP0, from the symbol that ends there, from other stacks and from pages that are not mapped.

const PAGE = 4096;
/** A symbol with less is taken for something else than a stack. */
const SMALLEST_STACK = 256;
/** An interrupted ESP is on the stack that ends next above, if that is no farther away. */
const FARTHEST_TOP = 0x4000;
/** Bytes in a row that the kernel left alone: what has changed below them is no part of its stack. */
const UNTOUCHED = 1024;

const pageOf = (address) => Math.floor(address / PAGE) * PAGE;

let tops = null;
/** All addresses at which a kernel stack is known to be empty, the lowest first. */
function knownTops() {
  if (tops === null) {
    const all = new Set((run.end?.stacks ?? []).map((stack) => parseInt(stack.esp0, 16)));
    const [esp0, from, to] = [entries('esp0'), stops('from'), stops('to')];
    for (let row = 0; row < esp0.length; row += 1) if (from[stopOf[row]] > to[stopOf[row]]) all.add(esp0[row]);
    tops = [...all].sort((one, other) => one - other);
  }
  return tops;
}

/** The known end of a stack at or above an address; none if there is none near. */
function topAbove(address) {
  const all = knownTops();
  let [low, high] = [0, all.length];
  while (low < high) {
    const middle = low + high >> 1;
    if (all[middle] < address) low = middle + 1;
    else high = middle;
  }
  return all[low] - address <= FARTHEST_TOP ? all[low] : null;
}

/** Where the stack of an entry is empty; none if that is not known. */
function topOf(one) {
  if (one.changesStack) return frameEnd(one);
  const known = [topAbove(frameEnd(one)), one.detail?.top && parseInt(one.detail.top, 16)].filter((top) => typeof top === 'number');
  return known.length > 0 ? Math.min(...known) : null;
}

/** What ends there, by name. */
function topName(one) {
  const top = topOf(one);
  if (top === null) return null;
  const own = one.changesStack || one.detail?.top === hex(top) ? one.detail?.top_name : null;
  return own ?? run.end?.stacks?.find((stack) => stack.esp0 === hex(top))?.name ?? run.tops[hex(top)] ?? null;
}

function stackName(one) {
  const top = topOf(one);
  return top === null ? `in use from ${hex(frameEnd(one))} up` : `ends at ${topName(one) ?? hex(top)}`;
}

/** Where the page that is not mapped ends, below the stack; none if it is far or was not looked for. */
function guardBelow(one) {
  const below = one.detail?.stack?.below ?? null;
  return below === null ? null : pageOf(one.espAfter) - below * PAGE;
}

/** The stack from its `end` down to its `bottom`; `sized` if a symbol says how large it is. */
function extentOf(one) {
  const end = topOf(one) ?? Math.ceil(frameEnd(one) / PAGE) * PAGE;
  const size = topOf(one) === null ? 0 : Number(/\+(\d+)$/.exec(topName(one) ?? '')?.[1] ?? 0);
  const sized = size >= SMALLEST_STACK && end - size <= one.espAfter;
  const guard = guardBelow(one);
  let bottom = sized ? end - size : Math.min(end - PAGE, guard ?? Infinity, pageOf(one.espAfter));
  if (guard !== null) bottom = Math.max(bottom, guard);
  // Another's stack that ends below is the end of this one.
  for (const top of knownTops()) if (top < end && top <= one.espAfter) bottom = Math.max(bottom, top);
  return { end, bottom: Math.max(0, Math.min(bottom, one.espAfter)), sized };
}

let lowestEsp = null;
/** The lowest ESP that was seen on the stack that ends at `top`. */
function lowestEspOf(top) {
  if (lowestEsp === null) {
    lowestEsp = new Map((run.end?.stacks ?? []).map((stack) => [parseInt(stack.esp0, 16), parseInt(stack.lowest, 16)]));
    const [esp, esp0, from, to] = [entries('espAfter'), entries('esp0'), stops('from'), stops('to')];
    for (let row = 0; row < esp.length; row += 1) {
      const key = from[stopOf[row]] > to[stopOf[row]] ? esp0[row] : topAbove(esp[row]);
      if (!(lowestEsp.get(key) <= esp[row])) lowestEsp.set(key, esp[row]);
    }
  }
  return lowestEsp.get(top);
}

/**
 * The lowest address that the kernel used between an entry and its return; none if that is not known. What else has
 * changed near the stack, a task's record in the same page, lies behind words that nobody touched.
 */
function lowestWritten(one) {
  const changed = one.returning?.detail?.changed;
  if (!one.detail || !changed) return null;
  const { bottom, sized } = extentOf(one);
  const seen = lowestEspOf(topOf(one)) ?? one.espAfter;
  // Into another page only where ESP was seen there, or the stack is known to reach so far.
  const floor = sized ? bottom : Math.max(bottom, pageOf(Math.min(one.espAfter, seen)));
  const words = changed.flatMap(([start, digits]) => Array.from({ length: digits.length / 8 }, (_, index) => parseInt(start, 16) + index * 4));
  let lowest = one.espAfter;
  for (const address of words.filter((word) => word < one.espAfter && word >= floor).sort((a, b) => b - a)) {
    if (lowest - address > UNTOUCHED) break;
    lowest = address;
  }
  return lowest;
}

/**
 * ESP where the guest died in ring 0, if that is on the stack of the last entry: nothing has come behind that, so its
 * handler went on from there.
 */
function diedAt(top) {
  const last = run.rows.stops - 1;
  if (run.lastEsp === null || last < 0 || stops('kind')[last] !== ENTRY) return undefined;
  const one = entryAt(rowOf[last]);
  return topOf(one) === top && run.lastEsp < one.espAfter && top - run.lastEsp <= FARTHEST_TOP ? run.lastEsp : undefined;
}

let deepest = null;
/** The lowest ESP or written word, or ESP at the end, that was seen in the whole run on the stack that ends at `top`. */
function deepestBelow(top) {
  if (deepest === null) {
    deepest = new Map();
    for (const number of Object.keys(run.details)) {
      const row = entryNumbered(Number(number));
      const other = row < 0 ? null : entryAt(row);
      const written = other && lowestWritten(other);
      const key = other && topOf(other);
      if (written !== null && !(deepest.get(key) <= written)) deepest.set(key, written);
    }
  }
  const all = [lowestEspOf(top), deepest.get(top), diedAt(top)].filter((address) => address !== undefined);
  return top === null || all.length === 0 ? null : Math.min(...all);
}

const deepestOf = (one) => deepestBelow(topOf(one));

/** What is below a stack. */
function belowOf(one, start) {
  const below = one.detail?.stack?.below;
  if (below === undefined) return { className: 'free', short: 'below: not known', text: 'what lies below was not looked at' };
  return start === guardBelow(one)
    ? { className: 'guard', short: 'guard page', text: 'the page below is not mapped: whoever runs over the end faults' }
    : { className: 'other', short: 'below is mapped', text: 'what lies below is mapped: whoever runs over the end writes there' };
}
