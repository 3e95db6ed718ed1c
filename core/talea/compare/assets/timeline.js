// When each task of a run was under way: bars with model and tool calls in them, waits hatched.

const ROWS = 40;
const ROW = 24;

const CLOCK = [15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400];

/** Round numbers on an axis: times of minutes as on a clock, all else in tens. */
function ticks(from, end, most, isTime) {
  const rough = (end - from) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const tens = [1, 2, 5, 10].map((one) => one * power);
  const step = (isTime && rough > 10 ? [...CLOCK, ...tens] : tens).find((one) => one >= rough);
  const first = Math.ceil(from / step);
  return Array.from({ length: Math.floor(end / step) - first + 1 }, (_, at) => (first + at) * step);
}

function tickWords(time, end) {
  if (end > 100) return `${Math.floor(time / 60)}:${String(Math.round(time % 60)).padStart(2, '0')} min`;
  if (end >= 1) return `${Number(time.toFixed(2))} s`;
  return `${Number((time * 1000).toFixed(2))} ms`;
}

let patterns = 0;

/** A hatched fill of its own for a drawing: its id, and the element that defines it. */
function hatching() {
  patterns += 1;
  const id = `hatch-${patterns}`;
  const lines = svg('path', { d: 'M0 6L6 0M-1 1L1 -1M5 7L7 5', class: 'edge' });
  return [`url(#${id})`, svg('defs', {}, svg('pattern', { id, width: 6, height: 6, patternUnits: 'userSpaceOnUse' }, lines))];
}

function startTimeline(room) {
  const state = { caseId: comparison.cases[0].id, repeat: repeatsOf(comparison.cases[0].id)[0], all: false };
  const charts = el('div', { class: 'card' });
  const repeats = el('div');
  const drawRepeats = () => {
    repeats.replaceChildren(
      choice('timeline-repeat', 'Repeat', repeatsOf(state.caseId).map((one) => [one, one + 1]), (value) => {
        state.repeat = Number(value);
        draw();
      }),
    );
  };
  const draw = () => {
    const runs = keys.map((key) => runOf(key, state.caseId, state.repeat)).filter(Boolean);
    const end = Math.max(1e-6, ...runs.map((run) => run.duration));
    const width = Math.max(280, charts.clientWidth - 38);
    charts.replaceChildren(...runs.map((run) => drawRun(run, end, width, state, draw)));
  };
  room.replaceChildren(
    el('div', { class: 'controls' },
      comparison.cases.length > 1 && caseChoice('timeline-case', (caseId) => {
        Object.assign(state, { caseId, repeat: repeatsOf(caseId)[0] });
        drawRepeats();
        draw();
      }),
      repeats),
    timelineLegend(),
    charts,
  );
  drawRepeats();
  draw();
  whenResized(charts, draw);
}

/** Draw again at another width, and not for a change of height, which drawing itself makes. */
function whenResized(element, draw) {
  let width = element.clientWidth;
  new ResizeObserver(() => {
    if (element.clientWidth === width) return;
    width = element.clientWidth;
    draw();
  }).observe(element);
}

function timelineLegend() {
  const sample = (...inside) => svg('svg', { viewBox: '0 0 14 10', 'aria-hidden': 'true', class: 'plot' }, inside);
  const [hatch, defs] = hatching();
  const items = [
    [sample(svg('rect', { class: 'task', x: 0.5, y: 0.5, width: 13, height: 9, rx: 2 })), 'task'],
    [sample(svg('rect', { class: 'model', width: 14, height: 10 })), 'model call'],
    [sample(svg('rect', { class: 'tool', width: 14, height: 10 })), 'tool call'],
    [sample(defs, svg('rect', { fill: hatch, width: 14, height: 10 })), 'waiting'],
    [sample(svg('path', { class: 'ready', d: 'M0 5H14' })), 'ready, not yet started'],
    [sample(svg('path', { class: 'load', d: 'M0 10V6H4V2H9V6H14V10Z' })), 'calls at once'],
    [sample(svg('path', { class: 'earlier', d: 'M0 5H14' })), 'earlier rounds of a loop'],
  ];
  return el('ul', { class: 'legend c0' }, items.map(([mark, words]) => el('li', {}, mark, words)));
}

/**
 * What has a row of its own in a run's chart: each task, with its spans, and below a task that was
 * mapped each of its items, which have no times of their own but those of their calls.
 */
function lanesOf(run) {
  const tasks = addresses().filter((address) => (run.tasks[address]?.started ?? null) !== null);
  const spans = new Map(tasks.map((address) => [address, []]));
  for (const span of run.spans) spans.get(taskOf(run, span.address))?.push(span);
  return tasks.flatMap((address) => {
    const items = Map.groupBy(spans.get(address), (span) => span.address.replaceAll(/#\d+/g, ''));
    items.delete(address);
    const own = { address, task: run.tasks[address], spans: spans.get(address) };
    if (items.size < 2) return [own];
    const lanes = [...items].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }));
    const rest = own.spans.filter((span) => !items.has(span.address.replaceAll(/#\d+/g, '')));
    return [{ ...own, spans: rest, items: lanes.length }, ...lanes.map(([item, found]) => ({ address: item, of: address, spans: found }))];
  });
}

/** From when to when a row's bar goes. */
function extent({ task, spans }, run) {
  if (task) return [task.started, task.ended ?? run.duration];
  return [Math.min(...spans.map((one) => one.began)), Math.max(...spans.map((one) => one.began + one.duration))];
}

/** How many of these stretches of time overlap: pairs of a time and the number from then on. */
function load(stretches) {
  const edges = stretches.flatMap(([from, to]) => [[from, 1], [to, -1]]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let now = 0;
  return edges.map(([time, step]) => [time, (now += step)]);
}

function most(steps) {
  return Math.max(0, ...steps.map(([, now]) => now));
}

function drawRun(run, end, width, state, redraw) {
  const lanes = lanesOf(run);
  const shown = state.all ? lanes : lanes.slice(0, ROWS);
  const left = lanes.length - shown.length;
  return el('div', { class: `chart ${colour(run.framework)}` },
    who(run.framework, 'h3', el('span', { class: 'soft' }, describeRun(run, lanes))),
    shown.length > 0 && drawTimeline(run, shown, describeRun(run, lanes), end, width),
    left > 0 && el('p', {}, el('button', { type: 'button', on: { click: () => { state.all = true; redraw(); } } }, `Show ${count(left, 'more row')}`)),
    shown.length > 0 && el('details', {}, el('summary', {}, 'The same as a table'), timesTable(run, shown)));
}

/** How long a run took, and how much of it was side by side: tasks without others in them, and items. */
function describeRun(run, lanes) {
  const outer = (lane) => lane.items || lanes.some(({ address }) => address.startsWith(`${lane.address}/`) || address.startsWith(`${lane.address}[`));
  const side = most(load(lanes.filter((lane) => !outer(lane)).map((lane) => extent(lane, run))));
  const status = run.status === 'succeeded' ? '' : `${run.status.replaceAll('_', ' ')} after `;
  return `${status}${seconds(run.duration)}, ${side > 1 ? `up to ${side} tasks at once` : 'one task at a time'}`;
}

function drawTimeline(run, shown, told, end, width) {
  const narrow = width < 560;
  const names = nameLanes(shown);
  const label = narrow ? 0 : Math.min(210, 24 + 7.2 * Math.max(12, ...names.map(({ words, depth }) => words.length + 1.5 * depth)));
  const row = narrow ? ROW + 14 : ROW;
  const right = 14;
  const x = (time) => label + (Math.min(Math.max(time, 0), end) / end) * (width - label - right);
  const calls = load(run.spans.filter(({ kind }) => kind === 'model' || kind === 'tool').map((span) => [span.began, span.began + span.duration]));
  const foot = most(calls) > 1 ? row + 4 : 0;
  const height = shown.length * row + foot + 22;
  const [hatch, defs] = hatching();
  const lines = ticks(0, end, narrow ? 4 : 8, true).map((time) => [
    svg('path', { class: 'grid', d: `M${x(time)} 0V${height - 18}` }),
    svg('text', { x: x(time), y: height - 4, 'text-anchor': time ? 'middle' : 'start' }, tickWords(time, end)),
  ]);
  const lanes = shown.map((lane, at) => {
    const y = at * row + (narrow ? 14 : 0);
    const { words, depth } = names[at];
    const name = svg('text', { class: lane.of ? 'item' : 'name', x: 10 * depth, y: y + (narrow ? -1 : 16) }, shorten(words, narrow ? 40 : 26 - 2 * depth));
    const marks = lane.spans.map((span) => drawSpan(span, y, x, hatch));
    return [lane.task ? drawBar(lane, y, x, run) : drawItem(lane, y, x, run), marks, name];
  });
  return svg('svg',
    {
      class: 'plot', role: 'img', width, height, viewBox: `0 0 ${width} ${height}`,
      'aria-label': `When tasks ran on ${run.framework}: ${told}. The same stands in the table below.`,
    },
    defs, lines, lanes, foot > 0 && drawLoad(calls, shown.length * row + (narrow ? 18 : 4), x, narrow));
}

/** What stands beside each row: below the row of what it is within, only what it adds to that. */
function nameLanes(shown) {
  const around = [];
  return shown.map(({ address }) => {
    while (around.length && !(address.startsWith(`${around.at(-1)}/`) || address.startsWith(`${around.at(-1)}[`))) around.pop();
    const words = around.length ? address.slice(around.at(-1).length).replace(/^\//, '') : address;
    const depth = around.length;
    around.push(address);
    return { words, depth };
  });
}

/** Draw how many calls of models and tools were under way. */
function drawLoad(steps, y, x, narrow) {
  const high = most(steps);
  const bottom = y + 18;
  const path = steps.map(([time, now]) => `H${x(time)}V${bottom - (now / high) * 16}`).join('');
  return svg('g', {},
    svg('title', {}, `Calls of models and tools at once: at most ${high}`),
    svg('path', { class: 'load', d: `M${x(0)} ${bottom}${path}H${x(steps.at(-1)[0])}V${bottom}Z` }),
    svg('text', { x: 0, y: narrow ? y - 5 : y + 14 }, `calls (max ${high})`));
}

function shorten(text, most) {
  return text.length <= most ? text : `${text.slice(0, most / 2 - 1)}…${text.slice(1 - most / 2)}`;
}

/** Draw a task: its earlier rounds in a loop faint, the last one as a bar. */
function drawBar(lane, y, x, run) {
  const { address, task, spans } = lane;
  const [started, ended] = extent(lane, run);
  const began = Math.min(started, ...spans.map((span) => span.began));
  const waited = task.ready === null ? 0 : started - task.ready;
  const words = `${address}: ${seconds(started)} to ${seconds(ended)}, ${task.status.replaceAll('_', ' ')}` + (waited > 0 ? `, ready ${seconds(waited)} before` : '');
  return svg('g', {},
    svg('title', {}, words),
    began < started && svg('path', { class: 'earlier', d: `M${x(began)} ${y + 12}H${x(started)}` }),
    waited > 0 && svg('path', { class: 'ready', d: `M${x(task.ready)} ${y + 12}H${x(started)}` }),
    svg('rect', {
      class: task.status === 'failed' ? 'task broken' : 'task',
      x: x(started), y: y + 4, width: Math.max(2, x(ended) - x(started)), height: 16, rx: 3,
    }),
    task.status === 'failed' && svg('text', { x: x(ended) + 4, y: y + 16, class: 'name' }, '✗'),
  );
}

/** Draw an item of a map, from its first call to the end of its last. */
function drawItem(lane, y, x, run) {
  const [from, to] = extent(lane, run);
  return svg('rect', { class: 'item', x: x(from), y: y + 6, width: Math.max(2, x(to) - x(from)), height: 12, rx: 2 },
    svg('title', {}, `${lane.address}: calls from ${seconds(from)} to ${seconds(to)}`));
}

function drawSpan(span, y, x, hatch) {
  const waits = ['retry', 'place', 'person'].includes(span.kind);
  const words = { model: 'model call', tool: 'tool', retry: 'pause before a retry', place: 'waits for a place', person: 'waits for a person' }[span.kind];
  return svg('rect',
    {
      class: waits ? null : span.kind, fill: waits ? hatch : null,
      x: x(span.began), y: y + 8, width: Math.max(1, x(span.began + span.duration) - x(span.began)), height: 8,
    },
    svg('title', {}, `${span.address}: ${words}${span.label ? ` (${span.label})` : ''}, ${seconds(span.duration)}`));
}

function timesTable(run, shown) {
  const total = (spans, ...kinds) =>
    seconds(spans.filter(({ kind }) => kinds.includes(kind)).reduce((sum, { duration }) => sum + duration, 0));
  const rows = shown.map((lane) => {
    const [from, to] = extent(lane, run);
    const ready = lane.task?.ready ?? null;
    const cells = [
      seconds(from), seconds(to - from), ready === null ? '–' : seconds(Math.max(0, from - ready)),
      total(lane.spans, 'model'), total(lane.spans, 'tool'), total(lane.spans, 'retry', 'place', 'person'),
    ];
    return el('tr', {}, el('th', { scope: 'row' }, lane.address), cells.map((cell) => el('td', {}, cell)));
  });
  const heads = ['Task', 'Started', 'Took', 'Ready before', 'Model', 'Tools', 'Waiting'];
  return el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `Times on ${run.framework}` },
    el('table', {}, el('thead', {}, el('tr', {}, heads.map((head) => el('th', { scope: 'col' }, head)))), el('tbody', {}, rows)));
}
