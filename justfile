# Short words for what is done often; `just` lists them. Nothing needs them: each is one command.

# What there is.
default:
    @just --list

# Everything that must pass.
test:
    ./scripts/test.sh

# The tests of one crate or with one name, such as `just t -p mizzen-core engine`.
t *arguments:
    cargo test {{arguments}}

# Format and lint.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Run the built mizzen, such as `just run launch examples/iris/experiment.toml`.
run *arguments:
    cargo run --release --quiet -- {{arguments}}

# Write snapshots and the published schemas anew; read the difference afterwards.
update:
    INSTA_UPDATE=always MIZZEN_UPDATE_REFERENCE=1 cargo test -p mizzen

# Our figures beside those of peers and limits.
bench *arguments:
    python3 bench/run.py {{arguments}}
