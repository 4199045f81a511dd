#!/usr/bin/env bash
# Everything that wants a card, in one command: agreement with the CPU, NVIDIA's checkers where they are, and figures.
#
#     benches/cuda.sh [SETS [MERGEKIT-YAML]]
#
# SETS is a folder for synthetic checkpoints (about 30 GB; made where they are missing), MERGEKIT-YAML the command of a mergekit
# whose torch knows the card, to be timed beside it. GROWMERGE_NVRTC says where NVRTC is, if it is in no usual place.
set -euo pipefail
cd "$(dirname "$0")/.."
sets=${1:-target/sets} mergekit=${2:-}

cargo build --release --example cuda --example synthesize --bin growmerge
target/release/growmerge devices

echo "== agreement with the CPU, on the card"
export GROWMERGE_REQUIRE_CUDA=1
cargo test --test cuda -- --nocapture

if command -v compute-sanitizer >/dev/null; then
    tests=$(cargo test --test cuda --no-run --message-format json 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*\/cuda-[^"]*\)".*/\1/p' | tail -1)
    for tool in memcheck racecheck; do
        echo "== $tool"
        # Without a C++ compiler, so that only the card's kernels run.
        CXX=/nonexistent compute-sanitizer --tool "$tool" --error-exitcode 1 "$tests" primitives methods --test-threads 1
    done
else
    echo "skipped: compute-sanitizer is not here (it comes with CUDA's toolkit)"
fi

echo "== figures"
for size in 572m 7b-layers; do
    [ -d "$sets/$size/sv" ] || target/release/examples/synthesize "$size" "$sets/$size"
done
date --iso-8601
target/release/examples/cuda "$sets/572m" "$sets/7b-layers"

if [ -n "$mergekit" ]; then
    echo "== mergekit --cuda, 572m, five models and a base"
    for method in linear ties; do
        recipe=$(mktemp --suffix .yaml)
        {
            echo "merge_method: $method"
            echo "parameters: {weight: 0.2, density: 0.5}" | if [ "$method" = linear ]; then sed 's/, density: 0.5//'; else cat; fi
            [ "$method" = linear ] || echo "base_model: $sets/572m/base"
            echo "dtype: bfloat16"
            echo "models:"
            for language in et fo is fa sv; do echo "  - model: $sets/572m/$language"; done
        } >"$recipe"
        for run in "$mergekit $recipe $sets/out-mergekit --cuda" \
            "target/release/growmerge merge $recipe $sets/out-growmerge --device cuda --overwrite --quiet"; do
            rm -rf "$sets/out-mergekit"
            echo "$run"
            bash -c "time $run >/dev/null"
        done
    done
fi
