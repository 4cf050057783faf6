// Puts the page together: what is looked at first is drawn first.

const onlyClaims = Boolean(run.claims) && run.rows.stops === 0 && run.ending === null;

function buildTop() {
  const { header } = run;
  byId('kernel').textContent = header.kernel.split('/').pop();
  byId('kernel').title = header.kernel;
  // A page of claims has no run.
  if (run.claims) byId('claims').hidden = false;
  if (onlyClaims) ['findings', 'timeline', 'entries', 'stacks', 'summary', 'output'].forEach((id) => { byId(id).hidden = true; });
  const verdict = run.end?.verdict ?? (run.causes.findings > 0 ? 'findings' : 'cut off');
  const words = { ok: 'ok', findings: plural(run.causes.findings, 'finding'), 'guest-failed': 'the guest failed', 'no-entries': 'no entries', unchecked: 'unchecked', interrupted: 'interrupted' };
  const chip = byId('verdict');
  const extra = verdict === 'guest-failed' && run.causes.findings > 0 ? `, ${plural(run.causes.findings, 'finding')}` : '';
  const open = run.claims?.claims.filter((claim) => claim.status !== 'proved').length;
  chip.textContent = onlyClaims ? (open === 0 ? 'all proved' : `${plural(open, 'claim')} not proved`) : (words[verdict] ?? verdict) + extra;
  chip.classList.add((onlyClaims ? open === 0 : verdict === 'ok' || verdict === 'unchecked') ? 'good' : 'bad');
  byId('nav').append(...['findings', 'legend', 'timeline', 'entries', 'stacks', 'summary', 'claims', 'output', 'authority'].filter((id) => !byId(id).hidden)
    .map((id) => el('a', { href: `#${id}` }, { legend: 'How to read it', output: 'Output', stacks: 'Stacks', authority: 'Authority' }[id] ?? capital(id))));
}

function buildLegend(into) {
  const draw = () => {
    const { drawing, texts, so } = legend(Math.min(640, into.clientWidth || 640));
    into.replaceChildren(el('figure', {}, drawing), el('div', {}, el('ol', { class: 'steps' }, texts.map((text) => el('li', {}, text))), el('p', { class: 'so' }, so)));
  };
  draw();
  let last = into.clientWidth;
  new ResizeObserver(([change]) => {
    const width = Math.round(change.contentRect.width);
    if (Math.abs(width - last) < 2) return;
    last = width;
    draw();
  }).observe(into);
}

/** The run in one line. */
function buildGlance(into) {
  const tasks = new Set(stops('task'));
  tasks.delete(0);
  const item = (name, value, target) => el('div', {}, el('dt', {}, name), el('dd', {}, target ? el('a', { href: target }, value) : value));
  const { header } = run;
  into.append(el('dl', { class: 'facts glance' },
    item('entries', grouped(run.rows.entries), '#entries'), item('returns', grouped(run.rows.returns)), item('tasks', grouped(tasks.size), '#stacks'),
    item('end', run.ending ?? 'the trace was cut off', '#summary'), item('authority', `${header.authority}: ${header.backend}`, '#authority'),
    run.claims && item('claims', claimsInWords(run.claims.claims), '#claims') || ''));
}

const claimsInWords = (claims) => ['proved', 'refuted', 'open'].map((status) => [status, claims.filter((claim) => claim.status === status).length])
  .filter(([, count]) => count > 0).map(([status, count]) => `${count} ${status}`).join(', ');

/** What is said of kernel stacks, and what the guests showed of it. */
function buildClaims(into) {
  const { claims, authority, backend } = run.claims;
  into.append(el('p', {}, `${capital(claimsInWords(claims))}. Who executed the guests: ${authority}, ${backend}. A number such as #12 is an entry of the scenario that shows the claim.`));
  const subjects = [...new Set(claims.map((claim) => claim.subject ?? ''))];
  for (const subject of subjects) {
    const own = claims.filter((claim) => (claim.subject ?? '') === subject);
    const rows = own.map((claim, index) => el('tr', {},
      index > 0 && own[index - 1].id === claim.id ? el('td', { colspan: 2 }) : [el('th', { scope: 'row' }, claim.id), el('td', { class: 'said' }, claim.claim)],
      el('td', {}, claim.kernel), el('td', { class: `status ${claim.status}` }, claim.status),
      el('td', { class: 'evidence' }, claim.evidence, claim.broken ? el('p', { class: 'hint' }, `broken on purpose: ${claim.broken}`) : '')));
    into.append(el('h3', {}, subject), el('div', { class: 'scroll-x', tabindex: 0, role: 'region', 'aria-label': `Claims: ${subject}` }, el('table', { class: 'claims' },
      el('thead', {}, el('tr', {}, ['', 'claim', 'kernel', 'came out', 'evidence'].map((name) => (name ? el('th', { scope: 'col' }, name) : el('td', {}))))),
      el('tbody', {}, rows))));
  }
}

/** The stacks that the kernel took before its first IDT, each by the instruction that loaded SS. */
function stacksLoaded() {
  const told = run.stacks.map(({ instruction, after }) => el('li', {}, el('code', {}, `${instruction} → ${after.ss}:${after.esp}`),
    ` at linear ${after.linear}, ${after.mode} mode`));
  return told.length === 0 ? [] : [el('h3', {}, 'Loaded by the kernel itself'), el('ol', { class: 'steps' }, told)];
}

/** So many rows has the table of stacks. */
const MOST_STACKS = 200;

/** A row for each kernel stack: where it is empty, how deep it was used, and its entries. */
function buildStacks(into) {
  const rows = run.end?.stacks?.length > 0 ? stacksTold() : stacksSeen();
  if (rows.length === 0) {
    into.append(el('p', { class: 'empty' }, run.rows.entries === 0 ? 'No entry was seen.' : 'No entry from an outer ring was seen: no stack was taken from a TSS.'));
    return;
  }
  const heading = (name, className) => el('th', { scope: 'col', class: className }, name);
  into.append(el('div', { class: 'scroll-x', tabindex: 0, role: 'region', 'aria-label': 'Kernel stacks by task' }, el('table', {},
    el('thead', {}, el('tr', {}, ['task', 'ESP0', 'which is', 'lowest ESP'].map((name) => heading(name)), ['below ESP0', 'high-water mark', 'entries', 'frames at once'].map((name) => heading(name, 'number')))),
    el('tbody', {}, rows.slice(0, MOST_STACKS).map((one) => el('tr', {},
      el('th', { scope: 'row' }, el('button', { type: 'button', class: 'link', onclick: () => search.set(`task ${one.task}`) }, taskName(one.task))),
      el('td', { class: 'mono' }, hex(one.esp0)), el('td', {}, one.name ?? ''), el('td', { class: 'mono' }, hex(one.lowest)),
      el('td', { class: 'number' }, bytes(one.esp0 - one.lowest)), el('td', { class: 'number' }, bytes(one.esp0 - (deepestBelow(one.esp0) ?? one.lowest))),
      el('td', { class: 'number' }, grouped(one.entries)), el('td', { class: 'number' }, one.deepest === undefined ? '–' : grouped(one.deepest))))))),
  rows.length > MOST_STACKS && el('p', { class: 'hint' }, `${grouped(rows.length - MOST_STACKS)} more are in the trace: esp0 trace stats FILE.`) || '',
  el('p', { class: 'hint' }, 'The lowest ESP is that of an entry, a return or a task switch. The high-water mark has what the kernel pushed between them too, as far as stacks were kept.'), ...stacksLoaded());
}

/** As the run counted them. */
const stacksTold = () => run.end.stacks.map((one) => ({ ...one, esp0: parseInt(one.esp0, 16), lowest: parseInt(one.lowest, 16) }));

/** Of a trace without an end: by what ESP0 the entries had. */
function stacksSeen() {
  const all = new Map();
  for (let row = 0; row < run.rows.entries; row += 1) {
    const stop = stopOf[row];
    const outer = stops('from')[stop] > stops('to')[stop];
    const esp0 = outer ? entries('esp0')[row] : topAbove(entries('espAfter')[row]);
    if (esp0 === null) continue;
    if (!all.has(esp0)) all.set(esp0, { task: stops('task')[stop], esp0, name: run.tops[hex(esp0)], lowest: lowestEspOf(esp0), entries: 0 });
    all.get(esp0).entries += 1;
  }
  return [...all.values()].sort((one, other) => one.task - other.task);
}

function buildSummary(into) {
  const pre = (text, name) => el('div', { class: 'scroll-x', tabindex: 0, role: 'region', 'aria-label': name }, el('pre', {}, text));
  if (run.summary) into.append(pre(run.summary, 'Summary as text'));
  else into.append(ownSummary());
  into.append(el('p', { class: 'mono verdict-line' }, run.verdict));
  if (run.last) into.append(el('h3', {}, capital(run.last.title)), pre(run.last.text, capital(run.last.title)));
}

/** For a trace that was cut off. */
function ownSummary() {
  const count = new Map();
  for (let row = 0; row < run.rows.entries; row += 1) {
    const key = `${run.events[entries('event')[row]].name} from ring ${stops('from')[stopOf[row]]}`;
    count.set(key, (count.get(key) ?? 0) + 1);
  }
  const item = (name, value) => el('div', {}, el('dt', {}, name), el('dd', {}, value));
  return el('dl', { class: 'facts' }, item('entries', grouped(run.rows.entries)), [...count].map(([name, times]) => item(name, grouped(times))),
    item('returns', grouped(run.rows.returns)), Object.entries(run.deviations).map(([name, times]) => item(`deviation ${name}`, grouped(times))),
    item('end', run.ending ?? 'the trace has no end: its run was cut off'));
}

function buildOutput(into) {
  const block = (title, text, note) => [el('h3', {}, title), note && el('p', { class: 'hint' }, note),
    el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': title }, el('pre', { class: 'screen' }, text))];
  const console = run.console.map(([, text]) => text).join('');
  if (console) into.append(...block('Console', console, run.consoleDropped ? 'Its last MiB.' : '').filter(Boolean));
  const screen = run.end?.screen?.lines;
  if (screen) into.append(...block('Screen at the end', screen.join('\n')).filter(Boolean));
  if (!console && !screen) into.append(el('p', { class: 'empty' }, 'It wrote nothing to a serial port or the debug port, and no text screen was kept.'));
}

function buildAuthority(into) {
  const { header } = run;
  const says = {
    silicon: 'A processor: its own microcode pushed these frames.',
    unconfirmed: 'A processor, or an emulator that does not announce itself: it cannot be told from here.',
    tcg: 'QEMU’s model of a processor, through kvm_amd: a second opinion on the manual, and no silicon. Its known deviations are named.',
    emulated: 'Software that emulates 32-bit code. What a processor does was not seen.',
  };
  const item = (name, value) => value !== undefined && value !== '' && el('div', {}, el('dt', {}, name), el('dd', {}, value));
  into.append(el('p', {}, el('strong', {}, header.authority), ` ${says[header.authority] ?? ''}`),
    el('dl', { class: 'facts' }, item('behind /dev/kvm', header.backend), item('clock', header.clock === 'deterministic' ? 'deterministic: the same run, the same trace' : header.clock), item('kernel', header.kernel),
      item('command line', header.command_line), item('memory', header.memory === undefined ? undefined : `${grouped(header.memory / 1048576)} MiB`), item('end', run.ending ?? 'none: the trace was cut off')),
    Object.keys(run.unread).length > 0 && el('p', { class: 'hint' }, `This page does not know ${Object.entries(run.unread).map(([name, count]) => `${count} lines of type ${name}`).join(', ')}.`) || '');
}

function buildKeys() {
  const keys = [['/', 'search'], ['↑ ↓ PgUp PgDn Home End', 'in the list of entries: move'], ['Enter', 'in the list: go to the entry; in the search: to the first that was found'],
    ['n, p', 'next and previous finding'], ['+ − 0 ← →', 'on the timeline: zoom, whole run, move'], ['[ ]', 'moment: at entry, deepest, before and after IRET'], ['Esc', 'clear the search'], ['?', 'this list']];
  byId('help').append(el('h2', { id: 'help-title' }, 'Keys'), el('dl', { class: 'keys' }, keys.map(([key, text]) => el('div', {}, el('dt', {}, key), el('dd', {}, text)))),
    el('form', { method: 'dialog' }, el('button', {}, 'Close')));
  byId('keys').addEventListener('click', () => byId('help').showModal());
  let cause = -1;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== 'radio') return;
    if (event.key === '/') {
      event.preventDefault();
      byId('search').focus();
    } else if (event.key === '?') {
      byId('help').showModal();
    } else if ((event.key === 'n' || event.key === 'p') && run.causes.list.length > 0) {
      cause = (cause + (event.key === 'n' ? 1 : -1) + run.causes.list.length) % run.causes.list.length;
      byId(`cause-${cause}`).scrollIntoView({ block: 'start' });
      byId(`cause-${cause}`).focus({ preventScroll: true });
    } else if (event.key === '[' || event.key === ']') {
      const names = MOMENTS.map(([name]) => name);
      moment = names[Math.max(0, Math.min(3, names.indexOf(moment) + (event.key === ']' ? 1 : -1)))];
      if (shown >= 0) showEntry(entryAt(shown));
    }
  });
}

function buildTheme() {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const button = byId('theme');
  let chosen = null;
  try { chosen = localStorage.getItem(THEME); } catch { /* a page from disk may have no storage */ }
  const apply = () => {
    const now = chosen ?? (dark.matches ? 'dark' : 'light');
    document.documentElement.dataset.theme = now;
    button.textContent = now === 'dark' ? 'Light' : 'Dark';
    button.setAttribute('aria-label', `Use ${now === 'dark' ? 'light' : 'dark'} colours`);
  };
  button.addEventListener('click', () => {
    chosen = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
    try { localStorage.setItem(THEME, chosen); } catch { /* as above */ }
    apply();
  });
  dark.addEventListener('change', apply);
  apply();
}

/** They push nothing, so they are none of the list's entries. */
function sysentersInWords() {
  const all = Object.values(run.sysenters);
  return all.length === 0 ? [] : [el('p', { class: 'hint', id: 'sysenters' },
    `${plural(all.length, 'SYSENTER')} came too, and stand on the timeline: they push nothing, and load ESP from IA32_SYSENTER_ESP, first with ${all[0].esp}.`)];
}

/** Entries by call gates push no frame of an interrupt's, so they are none of the list's entries either. */
function crossingsInWords() {
  const calls = Object.values(run.crossings).filter((one) => one.way === 'call');
  return calls.length === 0 ? [] : [el('p', { class: 'hint', id: 'crossings' },
    `${plural(calls.length, 'call')} by a call gate came too, and stand on the timeline: they push SS, ESP, the parameters, CS and EIP, and no EFLAGS; the first ${calls[0].words.slice().reverse().join(' ')}.`)];
}

/** The part of the address behind `#e` opens an entry. */
function openFromAddress() {
  const [, number] = /^#e(\d+)$/.exec(location.hash) ?? [];
  if (number !== undefined) {
    openEntry(entryNumbered(Number(number)), { scroll: true });
    return true;
  }
  return false;
}

buildTheme();
buildTop();
buildFindings(byId('findings-list'));
buildGlance(byId('glance'));
buildLegend(byId('legend-body'));
document.documentElement.dataset.ready = 'findings';
// The rest after the first picture.
requestAnimationFrame(() => setTimeout(() => {
  search.build();
  timeline.build(byId('timeline-body'));
  if (run.rows.entries > 0) {
    if (Object.keys(run.details).length === 0) {
      byId('search-help').after(el('p', { class: 'hint', id: 'kept' }, `Whole stacks, and the code of each entry, are not in this trace. ${HOW_TO_KEEP}`));
    }
    list.build(byId('list'));
    byId('search-help').after(...sysentersInWords(), ...crossingsInWords());
    if (!openFromAddress()) {
      // What is first on the page is what is opened; if it is about the end, the last entry.
      const first = run.causes.list.find((cause) => aboutRow(cause) >= 0);
      const at = location.hash;
      openEntry(first ? aboutRow(first) : 0);
      history.replaceState(null, '', at || location.pathname + location.search);
    }
  } else {
    byId('list').append(el('p', { class: 'empty' }, 'No entry was seen.'));
    for (const unused of [byId('entry'), byId('search-help'), byId('search').parentNode]) unused.hidden = true;
    byId('list').parentNode.classList.add('alone');
  }
  buildStacks(byId('stacks-body'));
  buildSummary(byId('summary-body'));
  if (run.claims) buildClaims(byId('claims-body'));
  buildOutput(byId('output-body'));
  buildAuthority(byId('authority-body'));
  buildKeys();
  window.addEventListener('hashchange', openFromAddress);
  document.documentElement.dataset.ready = 'all';
}, 0));
