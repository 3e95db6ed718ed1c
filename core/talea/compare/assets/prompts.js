// The prompts side by side: the workflow's own text plain; marked what the framework or talea's plugin for it added.

function startPrompts(room) {
  const kept = comparison.runs.filter((run) => reading.prompts[run.order]);
  if (!kept.length) {
    room.replaceChildren(el('p', { class: 'soft card pad' }, 'No prompts were kept.'));
    return;
  }
  const state = { caseId: kept[0].case, call: null };
  const calls = el('div');
  const sides = el('div', { class: 'beside' });
  const runs = () => keys.map((key) => kept.find((run) => run.framework === key && run.case === state.caseId));
  const drawCalls = () => {
    const names = new Map();
    for (const run of runs()) for (const call of run?.calls ?? []) if (call.prompt) names.set(nameOf(call), call);
    state.call = names.has(state.call) ? state.call : names.keys().next().value;
    calls.replaceChildren(choice('prompt-call', 'Call', [...names.keys()].map((name) => [name, name]), (name) => { state.call = name; draw(); }));
    calls.querySelector('select').value = state.call;
  };
  const draw = () => {
    sides.replaceChildren(...runs().map((run, at) => drawPrompt(keys[at], run, state.call)));
  };
  const cases = [...new Set(kept.map((run) => run.case))];
  room.replaceChildren(
    el('div', { class: 'controls' },
      cases.length > 1 && choice('prompt-case', 'Case', cases.map((one) => [one, one]), (caseId) => { state.caseId = caseId; drawCalls(); draw(); }),
      calls),
    sides,
  );
  drawCalls();
  draw();
}

function nameOf(call) {
  return `${call.address}, turn ${call.turn}`;
}

function drawPrompt(key, run, name) {
  const at = run ? run.calls.findIndex((call) => call.prompt && nameOf(call) === name) : -1;
  if (at < 0) return el('div', { class: 'side card' }, who(key, 'h3'), el('p', { class: 'soft small' }, 'Made no such call.'));
  const call = run.calls[at];
  const messages = call.prompt.map((message, place) => ({ message, ranges: reading.prompts[run.order].marks[at][place] }));
  const { added } = reading.prompts[run.order];
  const all = messages.reduce((sum, { message }) => sum + Array.from(textOf(message)).length, 0);
  return el('div', { class: 'side card' }, who(key, 'h3'),
    el('dl', {},
      fact('Characters', all.toLocaleString('en')),
      fact('Not in the workflow', share(added[at], all)),
      fact(asRecorded('Tokens in'), call.input_tokens.toLocaleString('en')),
      call.tools_offered.length > 0 && fact('Tools offered', call.tools_offered.join(', '))),
    all > 0 && svg('svg', { class: 'share', viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      svg('rect', { class: 'own', width: 100, height: 6 }),
      svg('rect', { class: 'foreign', width: (100 * added[at]) / all, height: 6 })),
    messages.map(({ message, ranges }) => drawMessage(message, ranges)));
}

function share(part, whole) {
  return part > 0 ? `${part.toLocaleString('en')} (${Math.max(1, Math.round((100 * part) / whole))} %)` : '0';
}

function fact(name, value) {
  return el('div', {}, el('dt', {}, name), el('dd', {}, value));
}

function textOf({ content }) {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content.filter((part) => typeof part?.text === 'string').map((part) => part.text).join('\n');
}

function drawMessage(message, ranges) {
  const { role, content, ...more } = message;
  const characters = Array.from(textOf(message));
  const rest = Object.keys(more).length > 0 && asText(more);
  const show = (shown) => {
    // Ranges count characters as people do, of which some are two units long.
    const end = Array.from(shown).length;
    const parts = [];
    let at = 0;
    for (const [first, last] of [...ranges, [end, end]]) {
      if (at >= end) break;
      parts.push(addedPart(characters.slice(at, Math.min(first, end)).join('')));
      parts.push(characters.slice(Math.min(first, end), Math.min(last, end)).join(''));
      at = last;
    }
    return parts;
  };
  return el('div', { class: 'message' },
    el('h4', { class: 'role' }, role ?? 'message'),
    characters.length > 0 ? clipped(characters.join(''), show) : el('p', { class: 'soft small' }, 'No text.'),
    rest && el('details', {}, el('summary', {}, 'Its other fields'), clipped(rest)));
}

/** Text that the workflow does not say; blanks and marks between its own words are no addition. */
function addedPart(text) {
  return /[\p{L}\p{N}_]/u.test(text) ? el('mark', { class: 'added' }, text) : text;
}
