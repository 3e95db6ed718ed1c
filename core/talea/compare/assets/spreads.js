// How figures spread over runs: a dot for each run, and a box from the first to the third quarter.

const MEASURES = {
  duration: ['Duration', (run) => run.duration, seconds],
  framework: ['Time of the framework itself', (run) => run.split.framework, seconds],
  cpu: ['CPU', (run) => run.cpu, seconds],
  peak: ['Peak memory', (run) => run.peak_memory / 1e6, (value) => `${value.toFixed(0)} MB`],
  prompts: ['Prompt characters', (run) => run.calls.reduce((sum, call) => sum + call.prompt_characters, 0), (value) => Math.round(value).toLocaleString('en')],
  input: [asRecorded('Tokens in'), (run) => run.used.input_tokens, (value) => Math.round(value).toLocaleString('en')],
  output: [asRecorded('Tokens out'), (run) => run.used.output_tokens, (value) => Math.round(value).toLocaleString('en')],
};

function startSpreads(room) {
  const state = { what: 'duration', caseId: '' };
  const chart = el('div', { class: 'card pad' });
  const draw = () => {
    const width = Math.max(280, chart.clientWidth - 38);
    chart.replaceChildren(drawSpreads(measureOf(state.what), state.caseId, width));
  };
  const tasks = addresses().slice(0, 500).map((address) => [`task ${address}`, `Task ${address}`]);
  const measures = Object.entries(MEASURES).map(([name, [label]]) => [name, label]);
  room.replaceChildren(
    el('div', { class: 'controls' },
      choice('spread-what', 'Figure', [...measures, ...tasks], (what) => { state.what = what; draw(); }),
      comparison.cases.length > 1 && caseChoice('spread-case', (caseId) => { state.caseId = caseId; draw(); }, 'All cases')),
    chart,
  );
  draw();
  whenResized(chart, draw);
}

function measureOf(what) {
  if (!what.startsWith('task ')) return MEASURES[what];
  const address = what.slice(5);
  const took = (run) => {
    const task = run.tasks[address];
    return task && task.started !== null && task.ended !== null ? task.ended - task.started : null;
  };
  return [`Duration of ${address}`, took, seconds];
}

function drawSpreads([label, measure, words], caseId, width) {
  const groups = keys.map((key) => {
    const found = runsOf(key, caseId).map((run) => ({ run, value: measure(run) })).filter(({ value }) => value !== null);
    const good = sorted(found.filter(({ run }) => run.status === 'succeeded').map(({ value }) => value));
    return { key, found, good };
  });
  const values = groups.flatMap(({ found }) => found.map(({ value }) => value));
  if (!values.length) return el('p', { class: 'soft' }, 'No run came that far.');
  const low = Math.min(...values);
  const high = Math.max(...values);
  const pad = (high - low || high || 1) * 0.06;
  const from = low - pad < 0 || low < (high - low) * 0.5 ? 0 : low - pad;
  const scale = [from, high + pad];
  const narrow = width < 560;
  const row = narrow ? 76 : 58;
  const height = groups.length * row + 26;
  const left = narrow ? 4 : 150;
  const x = (value) => left + ((value - scale[0]) / (scale[1] - scale[0])) * (width - left - 16);
  const isTime = words === seconds;
  const steps = ticks(scale[0], scale[1], narrow ? 3 : 7, isTime);
  const lines = steps.map((value) => [
    svg('path', { class: 'grid', d: `M${x(value)} 0V${height - 22}` }),
    svg('text', { x: x(value), y: height - 6, 'text-anchor': x(value) < left + 20 ? 'start' : 'middle' }, isTime ? tickWords(value, scale[1]) : words(value)),
  ]);
  const told = groups.map(({ key, good }) => `${key} ${good.length ? `median ${words(quantile(good, 0.5))}, ${words(good[0])} to ${words(good.at(-1))}` : 'no successful run'}`);
  return svg('svg',
    { class: 'plot', role: 'img', width, height, viewBox: `0 0 ${width} ${height}`, 'aria-label': `${label}: ${told.join('; ')}` },
    lines, groups.map((group, at) => drawGroup(group, at * row, row, x, words, narrow)));
}

function drawGroup({ key, found, good }, y, row, x, words, narrow) {
  const middle = y + (narrow ? 48 : row / 2);
  const [q1, q2, q3] = good.length ? [0.25, 0.5, 0.75].map((share) => quantile(good, share)) : [];
  const label = good.length ? `median ${words(q2)}` : 'no successful run';
  const box = good.length > 1 && [
    svg('path', { class: 'whisker', d: `M${x(good[0])} ${middle}H${x(q1)}M${x(q3)} ${middle}H${x(good.at(-1))}` }),
    svg('rect', { class: 'box', x: x(q1), y: middle - 13, width: Math.max(1, x(q3) - x(q1)), height: 26, rx: 3 }),
  ];
  const dots = found.map(({ run, value }, at) => {
    const dy = ((at * 7) % 5) * 4 - 8;
    const failed = run.status !== 'succeeded';
    const title = svg('title', {}, `${key}, ${run.case}, repeat ${run.repeat + 1}: ${words(value)}${failed ? `, ${run.status}` : ''}`);
    if (failed) return svg('path', { class: 'cross', d: `M${x(value) - 4} ${middle + dy - 4}l8 8m0 -8l-8 8` }, title);
    return svg('g', { transform: `translate(${x(value) - 5} ${middle + dy - 5})` }, svg('path', { class: 'dot', d: shape(key) }, title));
  });
  return svg('g', { class: colour(key) },
    svg('g', { transform: `translate(0 ${narrow ? y + 10 : middle - 11})` }, svg('path', { d: shape(key), class: 'dot' })),
    svg('text', { class: 'name', x: 16, y: narrow ? y + 19 : middle - 2 }, shorten(key, 18)),
    svg('text', { x: narrow ? 150 : 16, y: narrow ? y + 19 : middle + 14 }, label),
    box, dots,
    good.length > 0 && svg('path', { class: 'middle', d: `M${x(q2)} ${middle - 14}V${middle + 14}` }));
}
