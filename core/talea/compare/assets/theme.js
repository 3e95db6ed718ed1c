// Light or dark: as the system has it, until the reader says otherwise.

function rememberTheme(theme) {
  try {
    localStorage.setItem('talea-theme', theme);
  } catch {
    // A page from a file may keep nothing; then the choice lasts as long as the page.
  }
}

function rememberedTheme() {
  try {
    const theme = localStorage.getItem('talea-theme');
    return theme === 'dark' || theme === 'light' ? theme : null;
  } catch {
    return null;
  }
}

function startTheme() {
  const root = document.documentElement;
  const button = document.getElementById('theme');
  const system = matchMedia('(prefers-color-scheme: dark)');
  const dark = () => (root.dataset.theme ?? (system.matches ? 'dark' : 'light')) === 'dark';
  const tell = () => {
    button.textContent = dark() ? 'Light' : 'Dark';
    button.setAttribute('aria-label', dark() ? 'Show in light colours' : 'Show in dark colours');
  };
  const remembered = rememberedTheme();
  if (remembered) root.dataset.theme = remembered;
  button.hidden = false;
  button.addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    rememberTheme(root.dataset.theme);
    tell();
  });
  system.addEventListener('change', tell);
  tell();
}

startTheme();
