// Elements and numbers. Text from the run goes into the page as text, here and nowhere else; there is no
// other way from data to document.

const SVG = 'http://www.w3.org/2000/svg';

/** An element with attributes and children; `on…` are listeners, strings become text. */
function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== '' && child !== false));
  return node;
}

/** A sentence, with what stands between backticks as code. */
const prose = (text) => text && text.split('`').map((part, index) => (index % 2 === 1 ? el('code', {}, part) : part));

/** Replaces what a node holds. */
function refill(node, ...children) {
  node.replaceChildren();
  return fill(node, {}, children);
}

const byId = (id) => document.getElementById(id);

/** Says it to whoever listens to the page. */
function say(text) {
  byId('said').textContent = text;
}

const hex = (value, digits = 8) => (value === null ? '?'.repeat(digits) : (value >>> 0).toString(16).padStart(digits, '0'));
const hex4 = (value) => hex(value & 0xffff, 4);
const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ',');
const plural = (count, one, many = `${one}s`) => `${grouped(count)} ${count === 1 ? one : many}`;
const bytes = (count) => (count % 1024 === 0 && count > 0 ? `${count / 1024} KiB` : plural(count, 'byte'));

/** The flags that are set, as esp0 writes them on the terminal. */
function flags(value) {
  const set = run.layout.flags.filter(([bit]) => value >>> bit & 1).map(([, name]) => name);
  const level = value >>> 12 & 3;
  if (level > 0) set.push(`IOPL=${level}`);
  return set.join(' ') || 'none set';
}

/** Why there was a page fault (SDM vol. 3A, page-fault exception). */
function pageFault(code) {
  const who = code & 4 ? 'ring 3' : 'the kernel';
  const did = code & 16 ? 'fetched code' : code & 2 ? 'wrote' : 'read';
  return `${who} ${did}, ${code & 1 ? 'the page forbids it' : 'no page there'}`;
}

const THEME = 'esp0-report-theme';
