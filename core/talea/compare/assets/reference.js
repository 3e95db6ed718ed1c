// Whom the figures are compared with: any framework that has some, in place of the first.

function startReference() {
  const table = document.querySelector('#summary .figures');
  const able = keys.filter((key) => reading.references[key]);
  if (!table || able.length < 2) return;
  const at = table.querySelector('thead .reference').closest('th').cellIndex - 1;
  const told = el('p', { class: 'unseen', role: 'status' });
  const chosen = choice('reference', 'Compared with', able.map((key, place) => [place, key]), (place) => {
    compareWith(table, able[place]);
    told.textContent = visible(`Differences are multiples of ${able[place]}.`);
  });
  chosen.querySelector('select').value = able.indexOf(keys[at]);
  table.closest('.scroll').before(el('div', { class: 'controls compared' }, chosen, told));
}

function compareWith(table, reference) {
  const { note, against } = reading.references[reference];
  table.querySelector('caption > span').textContent = visible(note);
  table.tHead.rows[0].cells[keys.indexOf(reference) + 1].append(table.querySelector('thead .reference'));
  for (const row of table.querySelectorAll('tr[data-metric]')) {
    for (const cell of row.querySelectorAll('td')) {
      const main = cell.querySelector('.main');
      const found = against[keys[cell.cellIndex - 1]]?.[row.dataset.metric];
      cell.querySelector('.apart')?.remove();
      if (found && main.textContent !== '–') main.after(' ', el('span', { class: found[0] }, found[1]));
    }
  }
}
