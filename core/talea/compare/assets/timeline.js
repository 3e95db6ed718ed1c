// When each task of a run was under way: bars with model and tool calls in them, waits hatched.

const ROWS = 40;
const ROW = 24;

/** Round numbers on an axis. */
function ticks(from, end, most) {
  const rough = (end - from) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const first = Math.ceil(from / step);
  return Array.from({ length: Math.floor(end / step) - first + 1 }, (_, at) => (first + at) * step);
}

function tickWords(time, end) {
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
    [sample(svg('path', { class: 'earlier', d: 'M0 5H14' })), 'earlier rounds of a loop'],
  ];
  return el('ul', { class: 'legend c0' }, items.map(([mark, words]) => el('li', {}, mark, words)));
}

function drawRun(run, end, width, state, redraw) {
  const order = addresses().filter((address) => (run.tasks[address]?.started ?? null) !== null);
  const shown = state.all ? order : order.slice(0, ROWS);
  const left = order.length - shown.length;
  return el('div', { class: `chart ${colour(run.framework)}` },
    who(run.framework, 'h3', el('span', { class: 'soft' }, describeRun(run, order))),
    shown.length > 0 && drawTimeline(run, shown, end, width),
    left > 0 && el('p', {}, el('button', { type: 'button', on: { click: () => { state.all = true; redraw(); } } }, `Show ${count(left, 'more task', 'more tasks')}`)),
    shown.length > 0 && el('details', {}, el('summary', {}, 'The same as a table'), timesTable(run, shown)),
  );
}

function describeRun(run, order) {
  const edges = order.flatMap((address) => [[run.tasks[address].started, 1], [run.tasks[address].ended ?? run.duration, -1]]);
  let [now, most] = [0, 0];
  for (const [, step] of edges.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    now += step;
    most = Math.max(most, now);
  }
  const status = run.status === 'succeeded' ? '' : `${run.status}, `;
  return `${status}${seconds(run.duration)}, at most ${count(most, 'task')} at once`;
}

function drawTimeline(run, shown, end, width) {
  const narrow = width < 560;
  const label = narrow ? 0 : Math.min(190, 24 + 7 * Math.max(...shown.map((address) => address.length)));
  const row = narrow ? ROW + 14 : ROW;
  const right = 14;
  const x = (time) => label + (Math.min(Math.max(time, 0), end) / end) * (width - label - right);
  const height = shown.length * row + 22;
  const [hatch, defs] = hatching();
  const lines = ticks(0, end, narrow ? 4 : 8).map((time) => [
    svg('path', { class: 'grid', d: `M${x(time)} 0V${height - 18}` }),
    svg('text', { x: x(time), y: height - 4, 'text-anchor': time ? 'middle' : 'start' }, tickWords(time, end)),
  ]);
  const place = new Map(shown.map((address, at) => [address, at * row + (narrow ? 14 : 0)]));
  const spans = run.spans.map((span) => [span, place.get(taskOf(run, span.address))]).filter(([, y]) => y !== undefined);
  const bars = shown.map((address) => {
    const y = place.get(address);
    const began = Math.min(run.tasks[address].started, ...spans.filter(([, at]) => at === y).map(([span]) => span.began));
    return drawBar(run.tasks[address], address, y, x, run.duration, began);
  });
  const names = shown.map((address) =>
    svg('text', { class: 'name', x: 0, y: place.get(address) + (narrow ? -1 : 16) }, shorten(address, narrow ? 44 : 24)));
  const marks = spans.map(([span, y]) => drawSpan(span, y, x, hatch));
  return svg('svg',
    {
      class: 'plot', role: 'img', width, height, viewBox: `0 0 ${width} ${height}`,
      'aria-label': `When tasks ran on ${run.framework}: ${describeRun(run, shown)}. The same stands in the table below.`,
    },
    defs, lines, bars, marks, names);
}

function shorten(text, most) {
  return text.length <= most ? text : `${text.slice(0, most / 2 - 1)}…${text.slice(1 - most / 2)}`;
}

/** Draw a task from `began`: its earlier rounds in a loop faint, the last one as a bar. */
function drawBar(task, address, y, x, whole, began) {
  const ended = task.ended ?? whole;
  const waited = task.ready === null ? 0 : task.started - task.ready;
  const words = `${address}: ${seconds(task.started)} to ${seconds(ended)}, ${task.status}` + (waited > 0 ? `, ready ${seconds(waited)} before` : '');
  return svg('g', {},
    svg('title', {}, words),
    began < task.started && svg('path', { class: 'earlier', d: `M${x(began)} ${y + 12}H${x(task.started)}` }),
    waited > 0 && svg('path', { class: 'ready', d: `M${x(task.ready)} ${y + 12}H${x(task.started)}` }),
    svg('rect', {
      class: task.status === 'failed' ? 'task broken' : 'task',
      x: x(task.started), y: y + 4, width: Math.max(2, x(ended) - x(task.started)), height: 16, rx: 3,
    }),
    task.status === 'failed' && svg('text', { x: x(ended) + 4, y: y + 16, class: 'name' }, '✗'),
  );
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
  const total = (address, kinds) =>
    run.spans.filter((span) => kinds.includes(span.kind) && taskOf(run, span.address) === address).reduce((sum, span) => sum + span.duration, 0);
  const rows = shown.map((address) => {
    const task = run.tasks[address];
    const ended = task.ended ?? run.duration;
    const cells = [
      seconds(task.started), seconds(ended - task.started), task.ready === null ? '–' : seconds(Math.max(0, task.started - task.ready)),
      seconds(total(address, ['model'])), seconds(total(address, ['tool'])), seconds(total(address, ['retry', 'place', 'person'])),
    ];
    return el('tr', {}, el('th', { scope: 'row' }, address), cells.map((cell) => el('td', {}, cell)));
  });
  const heads = ['Task', 'Started', 'Took', 'Ready before', 'Model', 'Tools', 'Waiting'];
  return el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `Times on ${run.framework}` },
    el('table', {}, el('thead', {}, el('tr', {}, heads.map((head) => el('th', { scope: 'col' }, head)))), el('tbody', {}, rows)));
}
