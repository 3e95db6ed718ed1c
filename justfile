# The few verbs of this project. `just --list` shows them; each is one line that can be typed by hand.

# Everything that must pass, as the continuous integration runs it.
check:
    .ci/run

# The tests: `just test`, `just test tests/core -k timeout`.
test *args:
    .venv/bin/uv run pytest -q -n 2 --dist worksteal {{args}}

# Mend what the formatter and linter can mend.
fix:
    .venv/bin/ruff check --fix .
    .venv/bin/ruff format .

# Rewrite the generated parts of the documents.
docs:
    .venv/bin/python docs/generate.py

# Measure against the hand-written peers: `just bench`, `just bench overhead loading`.
bench *rows:
    .venv/bin/python benchmarks/run.py {{rows}}

# Let every framework agree with the oracle on many generated workflows: `just fuzz 20000 langgraph`.
fuzz examples="20000" only="":
    TALEA_FUZZ={{examples}} .venv/bin/pytest -q -n 2 tests/cross/test_fuzz.py -k "{{only}}"

# Which branches of the core no test takes.
coverage:
    .venv/bin/coverage erase
    .venv/bin/coverage run -m pytest -q
    .venv/bin/coverage combine --quiet
    .venv/bin/coverage report

# Each distribution as a wheel of its own, in dist/.
build:
    .venv/bin/uv build --all-packages --quiet

# The tests on the oldest versions that the distributions accept, in an environment of their own.
oldest:
    .venv/bin/uv venv --quiet --clear .venv-oldest
    cd "$(mktemp -d)" && VIRTUAL_ENV={{justfile_directory()}}/.venv-oldest {{justfile_directory()}}/.venv/bin/uv pip install \
        --quiet --resolution lowest-direct -e "{{justfile_directory()}}/core[conformance]" \
        -e {{justfile_directory()}}/plugins/simple -e {{justfile_directory()}}/plugins/langgraph \
        -e {{justfile_directory()}}/plugins/crewai "pytest>=8.4" "pytest-xdist>=3.6" "hypothesis>=6.100"
    .venv-oldest/bin/pytest -q -n 2 -W ignore::DeprecationWarning -p no:langsmith_plugin tests/core tests/adapters tests/cross tests/oracle
