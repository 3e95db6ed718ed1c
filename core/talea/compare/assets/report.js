// Puts the parts in their places.

/** Mark the part that is read: the last one that has begun in the upper third of the window. */
function startWays() {
  const links = [...document.querySelectorAll('nav.ways a')];
  const sections = links.map((link) => document.querySelector(link.hash));
  const mark = () => {
    const begun = sections.findLastIndex((section) => section.getBoundingClientRect().top < innerHeight / 3);
    links.forEach((link, at) => {
      if (at === Math.max(0, begun)) link.setAttribute('aria-current', 'true');
      else link.removeAttribute('aria-current');
    });
  };
  addEventListener('scroll', () => requestAnimationFrame(mark), { passive: true });
  mark();
}

function startCopy() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll('.copy')) {
    button.hidden = false;
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent);
      button.textContent = 'Copied';
    });
  }
}

const PARTS = { tasks: startMatrix, timeline: startTimeline, distributions: startSpreads, prompts: startPrompts };
// Where nothing ran there is nothing to fill.
for (const [id, start] of Object.entries(PARTS)) {
  const room = document.querySelector(`#${id} .room`);
  if (room) start(room);
}
startReference();
startWays();
startCopy();
