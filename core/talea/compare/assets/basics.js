// What all parts share: the data, elements that are made of text alone, and how figures are written.

const shared = embedded('texts');
const comparison = embedded('comparison');
const reading = embedded('reading');
const keys = reading.keys;
const LIMIT = 2000;

/**
 * Read data from the page. Its objects inherit nothing: a task may be called `constructor`. Long
 * texts that come again stand beside it, by number.
 */
function embedded(id) {
  return JSON.parse(document.getElementById(id).textContent, (_, value) => {
    if (typeof value === 'string') return id === 'comparison' && shared.texts.length && value.startsWith(shared.mark) ? shared.texts[value.slice(shared.mark.length)] : value;
    return value === null || typeof value !== 'object' || Array.isArray(value) ? value : Object.assign(Object.create(null), value);
  });
}

const UNSEEN =
  /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]/g;

/** Show what a reader would not see: control characters, and those that turn text around. */
function visible(text) {
  return String(text).replace(UNSEEN, (one) => {
    const code = one.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return `⟨${code.toString(16).toUpperCase().padStart(4, '0')}⟩`;
  });
}

/** Make an element; text in it is text, whatever it says. `on` names what it listens to. */
function el(name, attributes = {}, ...inside) {
  return fill(document.createElement(name), attributes, inside);
}

function svg(name, attributes = {}, ...inside) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, inside);
}

function fill(element, { on = {}, ...attributes }, inside) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(key, value === true ? '' : visible(value));
  }
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  for (const part of inside.flat(Infinity)) {
    if (part === null || part === undefined || part === false) continue;
    element.append(part instanceof Node ? part : visible(part));
  }
  return element;
}

function seconds(time) {
  if (time === null || time === undefined || !Number.isFinite(time)) return '–';
  if (time === 0) return '0 s';
  if (time < 0.001) return `${Math.round(time * 1e6)} µs`;
  if (time < 0.01) return `${(time * 1000).toFixed(1)} ms`;
  if (time < 1) return `${Math.round(time * 1000)} ms`;
  if (time < 60) return `${time.toFixed(time < 10 ? 2 : 1)} s`;
  return `${Math.floor(time / 60)} min ${String(Math.round(time % 60)).padStart(2, '0')} s`;
}

function count(number, word, many = `${word}s`) {
  return `${number.toLocaleString('en')} ${number === 1 ? word : many}`;
}

/** Mark what is in a replay as it was recorded, whatever a framework makes of the prompts. */
function asRecorded(name) {
  return comparison.settings.mode === 'replay' ? `${name}, as recorded` : name;
}

function quantile(ordered, share) {
  const place = share * (ordered.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, ordered.length - 1);
  return ordered[below] + (ordered[above] - ordered[below]) * (place - below);
}

function sorted(numbers) {
  return [...numbers].sort((a, b) => a - b);
}

function placeOf(key) {
  return comparison.contenders.findIndex((one) => one.key === key);
}

/** The class of a framework's colour: the same in all parts of the page. */
function colour(key) {
  return `c${placeOf(key) % SHAPES.length}`;
}

const SHAPES = [
  'M1 5a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z',
  'M1.5 1.5h7v7h-7z',
  'M5 0.8L9.4 8.8H0.6z',
  'M5 0.4L9.6 5L5 9.6L0.4 5z',
  'M3.4 0.8h3.2v2.6h2.6v3.2h-2.6v2.6h-3.2v-2.6h-2.6v-3.2h2.6z',
  'M5 9.2L0.6 1.2H9.4z',
];

/** The shape that goes with a framework's colour: another one where colours begin anew. */
function shape(key) {
  const place = placeOf(key);
  return SHAPES[(place + Math.floor(place / SHAPES.length)) % SHAPES.length];
}

function who(key, name = 'span', ...more) {
  const mark = svg('svg', { viewBox: '0 0 10 10', 'aria-hidden': 'true' }, svg('path', { d: shape(key) }));
  return el(name, { class: `who ${colour(key)}` }, mark, el('span', {}, key), more);
}

/** A labelled choice. `options` are pairs of a value and its words. */
function choice(id, label, options, change) {
  const select = el(
    'select',
    { id, on: { change: () => change(select.value) } },
    options.map(([value, words]) => el('option', { value }, words)),
  );
  return el('div', { class: 'field' }, el('label', { for: id }, label), select);
}

function caseChoice(id, change, every = null) {
  const options = comparison.cases.map((one) => [one.id, one.id]);
  return choice(id, 'Case', every ? [['', every], ...options] : options, change);
}

function runsOf(key, caseId = '') {
  return comparison.runs.filter((run) => run.framework === key && (!caseId || run.case === caseId));
}

function runOf(key, caseId, repeat) {
  return comparison.runs.find(
    (run) => run.framework === key && run.case === caseId && run.repeat === repeat,
  );
}

function repeatsOf(caseId) {
  const found = comparison.runs.filter((run) => run.case === caseId).map((run) => run.repeat);
  return sorted(new Set(found));
}

function asText(value) {
  return typeof value === 'string' ? value : JSON.stringify(value, null, 2);
}

/** A text that may be long: its beginning, and a button for the rest. `show` turns text to nodes. */
function clipped(text, show = (shown) => [shown]) {
  const pre = el('pre', { tabindex: '0' }, show(text.slice(0, LIMIT)));
  if (text.length <= LIMIT) return [pre];
  const button = el(
    'button',
    {
      type: 'button',
      class: 'plain',
      on: {
        click: () => {
          pre.replaceChildren(...show(text).map((part) => (part instanceof Node ? part : visible(part))));
          button.remove();
          pre.focus();
        },
      },
    },
    `Show all ${text.length.toLocaleString('en')} characters`,
  );
  pre.append('…');
  return [pre, button];
}

/** The task of a run that a span or call belongs to: `notes` for `notes[0]`, `polish/brief` for `polish#1/brief`. */
function taskOf(run, address) {
  let place = address.replaceAll(/#\d+/g, '');
  while (place && !(place in run.tasks)) {
    place = place.endsWith(']') ? place.slice(0, place.lastIndexOf('[')) : place.slice(0, Math.max(0, place.lastIndexOf('/')));
  }
  return place;
}
