#!/usr/bin/env bash
# Makes the quickstart's models: a tokenizer, an English model, and five that were trained on from it.
# About six minutes on two cores. The result is in out/quickstart-models; `install` puts them in the place
# of those in recipes/quickstart, after which baselines and snapshots have to be made again.
set -euo pipefail
cd "$(dirname "$0")/../../.."

cargo build --release --package growmerge-trainer
trainer=target/release/growmerge-trainer
out=out/quickstart-models

texts=()
for language in en et fa fo is sv; do
    texts+=(--text "$language=trainer/texts/$language/train.txt.gz")
done
[ -f "$out/tokenizer/tokenizer.json" ] || "$trainer" tokenizer "${texts[@]}" --vocab 2048 "$out/tokenizer"
for language in en et fa fo is sv; do
    "$trainer" train "trainer/runs/quickstart/$language.yaml" "$out/$language" --resume --shards "$out/shards"
done

if [ "${1:-}" = install ]; then
    for language in en et fa fo is sv; do
        cp "$out/$language"/{config.json,model.safetensors,tokenizer.json,tokenizer_config.json,training.json} \
            "recipes/quickstart/$language/"
    done
fi
