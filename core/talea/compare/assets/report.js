// Puts the parts in their places.

function startWays() {
  const links = [...document.querySelectorAll('nav.ways a')];
  const sections = new Map(links.map((link) => [document.querySelector(link.hash), link]));
  const seen = new IntersectionObserver(
    (entries) => {
      const entry = entries.findLast((one) => one.isIntersecting);
      if (!entry) return;
      for (const link of links) link.removeAttribute('aria-current');
      sections.get(entry.target).setAttribute('aria-current', 'true');
    },
    { rootMargin: '-15% 0px -75% 0px' },
  );
  for (const section of sections.keys()) if (section) seen.observe(section);
}

function startCopy() {
  const button = document.getElementById('copy');
  if (!button || !navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(comparison.settings.command);
    button.textContent = 'Copied';
  });
}

const PARTS = { tasks: startMatrix, timeline: startTimeline, durations: startSpreads, prompts: startPrompts };
for (const [id, start] of Object.entries(PARTS)) {
  const room = document.querySelector(`#${id} .room`);
  if (keys.length && comparison.runs.length) start(room);
  else room.replaceChildren(el('p', { class: 'soft card pad' }, 'Nothing ran.'));
}
startWays();
startCopy();
