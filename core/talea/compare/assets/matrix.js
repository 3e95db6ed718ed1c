// The matrix task × framework: filters, search, sort, and the outputs side by side.

const PAGE = 100;

const LEVELS = {
  exact: ['same', 'good'],
  normalised: ['same but for spaces or case', 'good'],
  structural: ['same structure', 'odd'],
  different: ['different', 'odd'],
  none: ['nothing to compare', ''],
};

const KINDS = { tasks: 'block', ask: 'question to a person' };

let known = null;

/** The addresses of tasks in document order, those within a task after it: items by number, others as they first began. */
function addresses() {
  known ??= findAddresses();
  return known;
}

function findAddresses() {
  const roots = new Map(Object.keys(comparison.outline.tasks).map((id) => [id, new Set()]));
  const began = new Map();
  for (const run of comparison.runs) {
    for (const [address, task] of Object.entries(run.tasks)) {
      const root = address.match(/^[^[/]*/)[0];
      if (!roots.has(root)) roots.set(root, new Set());
      roots.get(root).add(address);
      for (const part of partsOf(address)) began.set(part, Math.min(began.get(part) ?? Infinity, task.started ?? Infinity));
    }
  }
  return [...roots].flatMap(([root, found]) => [root, ...[...found].filter((one) => one !== root).sort((a, b) => compareAddresses(a, b, began))]);
}

/** What an address is within, and it itself: `notes`, `notes[0]`, `notes[0]/draft`. */
function partsOf(address) {
  return [...address.matchAll(/[[/]|$/g)].map(({ index }) => address.slice(0, index)).filter(Boolean);
}

function compareAddresses(a, b, began) {
  const [left, right] = [partsOf(a), partsOf(b)];
  const at = left.findIndex((part, place) => part !== right[place]);
  if (at < 0 || right[at] === undefined) return left.length - right.length;
  const [one, other] = [left[at], right[at]];
  if (one.endsWith(']') && other.endsWith(']')) return one.localeCompare(other, 'en', { numeric: true });
  return began.get(one) - began.get(other) || one.localeCompare(other, 'en', { numeric: true });
}

function makeCell(key, address, caseId) {
  const runs = runsOf(key, caseId);
  const tasks = runs.map((run) => run.tasks[address]).filter(Boolean);
  const succeeded = tasks.filter((task) => task.status === 'succeeded');
  const skipped = tasks.filter((task) => task.status === 'skipped');
  const times = sorted(
    succeeded.filter((task) => task.started !== null && task.ended !== null).map((task) => task.ended - task.started),
  );
  return {
    key,
    total: runs.length,
    succeeded: succeeded.length,
    skipped: skipped.length,
    failed: tasks.length - succeeded.length - skipped.length,
    reached: tasks.length,
    retried: runs.filter((run) =>
      run.spans.some((span) => span.kind === 'retry' && taskOf(run, span.address) === address)).length,
    recovered: tasks.filter((task) => task.recovered).length,
    time: times.length ? quantile(times, 0.5) : null,
    wrong: wrongs(tasks),
  };
}

/** What went wrong, in words: the error's type, or how a task ended that has none. */
function wrongs(tasks) {
  const ended = tasks.filter((task) => !['succeeded', 'skipped'].includes(task.status));
  const counts = new Map();
  for (const task of ended) {
    const word = (task.error?.type ?? task.status).replaceAll('_', ' ');
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return [...counts].map(([word, times]) => `${times} ${word}`);
}

function makeRow(address, place, caseId) {
  const cells = keys.map((key) => makeCell(key, address, caseId));
  const agreement = agreementOf(address, caseId);
  const times = cells.map((cell) => cell.time).filter((time) => time !== null);
  const failed = cells.reduce((sum, cell) => sum + cell.failed, 0);
  return {
    address,
    place,
    cells,
    agreement,
    failed,
    different: ['structural', 'different'].includes(agreement?.level) || differsInOutcome(cells),
    slowest: Math.max(0, ...times),
    apart: times.length > 1 ? Math.max(...times) / Math.max(Math.min(...times), 1e-9) : 0,
    kind: KINDS[comparison.outline.tasks[address]] ?? comparison.outline.tasks[address] ?? '',
  };
}

/** Whether a task ended well more often on one framework than on another. */
function differsInOutcome(cells) {
  return new Set(cells.map((cell) => (cell.total ? cell.succeeded / cell.total : 0).toFixed(6))).size > 1;
}

function agreementOf(address, caseId) {
  const all = caseId ? reading.by_case[caseId] : reading.agreement;
  return all?.[address];
}

const SORTS = {
  place: ['In the workflow', (a, b) => a.place - b.place],
  name: ['By name', (a, b) => a.address.localeCompare(b.address)],
  slowest: ['Slowest first', (a, b) => b.slowest - a.slowest || a.place - b.place],
  apart: ['Furthest apart in time', (a, b) => b.apart - a.apart || a.place - b.place],
  failed: ['Most failures first', (a, b) => b.failed - a.failed || a.place - b.place],
};
const FILTERS = {
  all: ['All', () => true],
  different: ['Different', (row) => row.different],
  failed: ['Failed', (row) => row.failed > 0],
};

function startMatrix(room) {
  const all = addresses();
  const state = { filter: 'all', search: '', sort: 'place', caseId: '', shown: PAGE, opened: null };
  const body = el('tbody');
  const rest = el('div', { class: 'after' });
  const told = el('p', { class: 'soft small', role: 'status' });
  const within = all.filter((address) => !(address in comparison.outline.tasks)).length;
  const whole = within ? `${count(all.length, 'row')}: ${count(all.length - within, 'task')}, and ${within} within them` : count(all.length, 'task');
  let rows = [];

  const gather = () => {
    rows = all.map((address, place) => makeRow(address, place, state.caseId));
  };
  const change = (changes) => {
    Object.assign(state, { shown: PAGE, opened: null }, changes);
    if ('caseId' in changes) gather();
    draw();
  };
  const open = (address, key) => {
    const again = state.opened?.address === address && state.opened.key === key;
    state.opened = again ? null : { address, key };
    draw();
    body.querySelector(`[data-cell="${CSS.escape(`${key} ${address}`)}"]`)?.focus();
  };
  const draw = () => {
    const longest = Math.max(...rows.map((row) => row.slowest));
    const term = state.search.trim().toLowerCase();
    const found = rows
      .filter((row) => FILTERS[state.filter][1](row) && (!term || row.address.toLowerCase().includes(term)))
      .sort(SORTS[state.sort][1]);
    const shown = found.slice(0, state.shown);
    body.replaceChildren(...shown.flatMap((row) => drawRow(row, state, open, longest)));
    const left = found.length - shown.length;
    told.textContent = found.length === all.length ? whole : `${found.length} of ${whole}`;
    rest.hidden = left === 0;
    rest.replaceChildren(
      el('button', { type: 'button', on: { click: () => { state.shown += PAGE; draw(); } } }, `Show ${Math.min(PAGE, left)} more`),
      el('span', { class: 'soft small' }, `${left} not shown`),
    );
  };

  gather();
  const heads = keys.map((key) => el('th', { scope: 'col', role: 'columnheader' }, who(key)));
  const few = keys.length <= 3 ? ` few n${keys.length}` : '';
  room.replaceChildren(
    matrixControls(rows, change),
    el('div', { class: 'card' },
      el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Tasks by framework' },
        el('table', { class: `matrix${few}`, role: 'table' },
          el('caption', {}, el('span', {}, 'Runs of a task that succeeded, and the median time, as a bar too.')),
          el('thead', { role: 'rowgroup' },
            el('tr', { role: 'row' }, el('th', { scope: 'col', role: 'columnheader' }, 'Task'), heads, el('th', { scope: 'col', role: 'columnheader', class: 'agrees' }, 'Outputs'))),
          body)),
      rest),
    told,
  );
  body.setAttribute('role', 'rowgroup');
  draw();
}

function matrixControls(rows, change) {
  const radios = Object.entries(FILTERS).map(([name, [label, fits]]) => [
    el('input', { type: 'radio', name: 'filter', id: `filter-${name}`, checked: name === 'all', on: { change: () => change({ filter: name }) } }),
    el('label', { for: `filter-${name}` }, label, el('span', { class: 'number' }, rows.filter(fits).length)),
  ]);
  const search = el('input', { type: 'search', id: 'search', placeholder: 'Name of a task', on: { input: () => change({ search: search.value }) } });
  return el('div', { class: 'controls' },
    el('fieldset', { class: 'choices' }, el('legend', {}, 'Show'), el('div', {}, radios)),
    el('div', { class: 'field' }, el('label', { for: 'search' }, 'Search'), search),
    choice('sort', 'Sort', Object.entries(SORTS).map(([name, [label]]) => [name, label]), (sort) => change({ sort })),
    comparison.cases.length > 1 && caseChoice('matrix-case', (caseId) => change({ caseId }), 'All cases'),
  );
}

function drawRow(row, state, open, longest) {
  const opened = state.opened?.address === row.address ? state.opened.key : null;
  const tr = el('tr', { role: 'row', 'data-address': row.address },
    el('th', { scope: 'row', role: 'rowheader' }, ...splitAddress(row.address), row.kind && el('span', { class: 'more' }, row.kind)),
    row.cells.map((cell) => el('td', { role: 'cell' }, drawCell(cell, row.address, opened === cell.key, open, longest))),
    el('td', { role: 'cell', class: 'agrees' }, drawAgreement(row.agreement)),
  );
  if (!opened) return [tr];
  const detail = el('td', { role: 'cell', colspan: keys.length + 2 });
  drawOutputs(detail, row.address, opened, state.caseId || comparison.cases[0].id);
  return [tr, el('tr', { role: 'row', class: 'opened' }, detail)];
}

/** An address, what the task is within being soft. */
function splitAddress(address) {
  const at = address.lastIndexOf('/') + 1;
  return [at > 0 && el('span', { class: 'soft' }, address.slice(0, at)), address.slice(at)];
}

function drawCell(cell, address, opened, open, longest) {
  const [mark, kind, words] = outcome(cell);
  const more = [
    cell.time === null ? null : seconds(cell.time),
    cell.succeeded && cell.skipped ? `${cell.skipped} skipped` : null,
    cell.retried ? count(cell.retried, 'retry', 'retries') : null,
    cell.recovered ? `${cell.recovered} by fallback` : null,
    ...cell.wrong,
  ].filter(Boolean);
  return el('button',
    {
      type: 'button',
      class: 'cell',
      'aria-expanded': String(opened),
      'aria-label': `${address} on ${cell.key}: ${[words, ...more].join(', ')}`,
      'data-cell': `${cell.key} ${address}`,
      on: { click: () => open(address, cell.key) },
    },
    el('span', { class: `mark ${kind}`, 'aria-hidden': 'true' }, mark),
    el('span', {}, words),
    el('span', { class: 'more' }, more.join(' · ')),
    cell.time > 0 && svg('svg', { class: 'long', viewBox: '0 0 100 4', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      svg('rect', { class: colour(cell.key), width: Math.max(1, (100 * cell.time) / longest), height: 4 })),
  );
}

function outcome(cell) {
  if (!cell.reached) return ['·', 'rest', 'not reached'];
  if (cell.succeeded === cell.total) return ['✓', 'ok', `${cell.succeeded}/${cell.total}`];
  if (cell.skipped === cell.total) return ['–', 'rest', 'skipped'];
  if (cell.succeeded + cell.skipped === cell.total) return ['✓', 'ok', `${cell.succeeded}/${cell.total}`];
  if (cell.succeeded) return ['!', 'part', `${cell.succeeded}/${cell.total}`];
  return cell.failed ? ['✗', 'no', `0/${cell.total}`] : ['–', 'rest', `0/${cell.total}`];
}

function drawAgreement(agreement) {
  if (!agreement) return el('span', { class: 'soft' }, '–');
  const [words, kind] = LEVELS[agreement.level];
  const groups = Object.values(agreement.groups);
  const unlike = ['structural', 'different'].includes(agreement.level) && groups.length > 1;
  return [
    el('span', { class: `chip ${kind}` }, words),
    unlike && el('span', { class: 'more' }, groups.map((group) => group.join(' = ')).join(' ≠ ')),
    agreement.unsteady.length > 0 && el('span', { class: 'more' }, `varies by itself: ${agreement.unsteady.join(', ')}`),
  ];
}

/** The outputs of a task side by side; those of others are compared with `base`'s, by words. */
function drawOutputs(room, address, base, caseId, repeat = repeatsOf(caseId)[0]) {
  const reference = runOf(base, caseId, repeat)?.tasks[address];
  const controls = el('div', { class: 'controls' },
    comparison.cases.length > 1 && caseChoice('output-case', (value) => drawOutputs(room, address, base, value)),
    choice('output-repeat', 'Repeat', repeatsOf(caseId).map((one) => [one, one + 1]),
      (value) => drawOutputs(room, address, base, caseId, Number(value))),
  );
  const order = [base, ...keys.filter((key) => key !== base)];
  const sides = order.map((key) => {
    const task = runOf(key, caseId, repeat)?.tasks[address];
    return el('div', { class: 'side card' }, who(key, 'h3'), task ? drawTask(task, key === base ? null : reference) : el('p', { class: 'soft small' }, 'Not reached.'));
  });
  const held = document.activeElement?.id;
  room.replaceChildren(controls, el('div', { class: 'beside' }, sides));
  for (const [id, value] of [['output-case', caseId], ['output-repeat', repeat]]) {
    const select = room.querySelector(`#${id}`);
    if (select) select.value = value;
    if (held === id) select?.focus();
  }
}

function drawTask(task, reference) {
  const facts = [
    ['Status', task.status.replaceAll('_', ' ') + (task.reason ? ` (${task.reason})` : '')],
    ['Time', task.started === null || task.ended === null ? null : seconds(task.ended - task.started)],
    ['Attempts', task.attempts > 1 ? task.attempts : null],
    ['Agent', task.agent],
    [asRecorded('Tokens'), task.used.model_calls ? `${task.used.input_tokens.toLocaleString('en')} + ${task.used.output_tokens.toLocaleString('en')}` : null],
  ].filter(([, value]) => value !== null && value !== undefined);
  return [
    el('dl', {}, facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value)))),
    task.error && el('p', { class: 'errs' }, task.recovered ? 'Recovered from ' : '', el('b', {}, task.error.type), `: ${task.error.message}`),
    task.status === 'succeeded' && drawOutput(task.output, reference),
  ];
}

function drawOutput(output, reference) {
  const text = asText(output);
  if (reference?.status !== 'succeeded') return clipped(text);
  const base = asText(reference.output);
  if (base === text) return [el('p', { class: 'soft small' }, 'The same as the first.'), clipped(text)];
  return clipped(text, (shown) => differenceNodes(shown.length < text.length ? base.slice(0, LIMIT) : base, shown));
}
