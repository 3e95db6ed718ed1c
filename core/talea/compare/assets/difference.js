// Which words of a text are not in another one, by the longest common subsequence of words.

const CELLS = 1_000_000;

function words(text) {
  return text.match(/\s+|[^\s]{1,200}/g) ?? [];
}

/** Give parts of `text` as [kind, words]: 'same', 'ins' for what `base` lacks, 'del' for the rest. */
function compareWords(base, text) {
  const a = words(base);
  const b = words(text);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const middle = compareMiddle(a.slice(start, a.length - end), b.slice(start, b.length - end));
  return [['same', b.slice(0, start)], ...middle, ['same', end ? b.slice(-end) : []]]
    .map(([kind, part]) => [kind, part.join('')])
    .filter(([, part]) => part);
}

function compareMiddle(a, b) {
  if (a.length * b.length > CELLS) return [['del', a], ['ins', b]];
  const width = b.length + 1;
  const longest = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      longest[i * width + j] =
        a[i] === b[j]
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const parts = [];
  const add = (kind, word) => {
    if (parts.at(-1)?.[0] === kind) parts.at(-1)[1].push(word);
    else parts.push([kind, [word]]);
  };
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      add('same', b[j]);
      [i, j] = [i + 1, j + 1];
    } else if (i < a.length && (j === b.length || longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
      add('del', a[i]);
      i += 1;
    } else {
      add('ins', b[j]);
      j += 1;
    }
  }
  return parts;
}

/** Turn a text to nodes that mark what differs from `base`. */
function differenceNodes(base, text) {
  return compareWords(base, text).map(([kind, part]) => (kind === 'same' ? part : el(kind, {}, part)));
}
