#!/usr/bin/env bash
# Every measurement that wants a GPU, in at most nine minutes, on a machine with PyTorch and without a network.
#
#   scripts/benchmarks/gpu.sh wheels DIR            here: packages that the machine lacks go into DIR, about 25 MB
#   scripts/benchmarks/gpu.sh run DIR OUT           there: figures go into OUT, as JSON and as tables.txt
#   scripts/benchmarks/gpu.sh run DIR OUT --small   tries all of it on a CPU, in small
#
# PYTHON_VERSION is the Python there (3.12).
set -euo pipefail
usage() { sed -n '2,8s/^# \?//p' "$0"; exit 2; }
[ $# -ge 2 ] || usage
root=$(cd "$(dirname "$0")/../.." && pwd)
# transformers and what it and its companions need beyond what comes with PyTorch; no PyAV: waveforms are made here.
packages=(
    transformers tokenizers safetensors huggingface_hub hf-xet httpx2 httpcore2 truststore idna click regex fsspec
    datasets dill multiprocess xxhash evaluate soundfile cffi pycparser soxr peft
)

if [ "$1" = wheels ]; then
    platforms=()
    for tag in manylinux_2_28 manylinux_2_27 manylinux_2_26 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux1; do
        platforms+=(--platform "${tag}_x86_64")
    done
    rm -rf "$2"
    python3 -m pip download -q --no-deps --only-binary=:all: --implementation cp "${platforms[@]}" \
        --python-version "${PYTHON_VERSION:-3.12}" -c "$root/constraints.txt" -d "$2" "${packages[@]}"
    du -sh "$2"
    exit
fi

[ "$1" = run ] && [ $# -ge 3 ] || usage
wheels=$2 out=$3
mkdir -p "$out"
rm -f "$out"/*.json "$out/tables.txt"
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl
export PYTHONPATH="$root:$site" HF_HUB_OFFLINE=1

device=cuda tuning=(--size base --batch_size 16 --seconds 8) exactness=() speed=(--num_utterances 128 --repeats 2) cost=(--batch_size 64) step=() features=() profile=(--seconds 10 --batch_size 8)
if [ "${4:-}" = --small ]; then
    device=cpu
    python3 - "$site" <<'END'
import sys
from transformers import BertConfig, BertModel, WavLMConfig, WavLMModel
sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
WavLMModel(WavLMConfig(**sizes, conv_dim=[32] * 7, num_conv_pos_embedding_groups=4)).save_pretrained(f"{sys.argv[1]}/speech")
BertModel(BertConfig(**sizes)).save_pretrained(f"{sys.argv[1]}/text")
END
    exactness=(--audio_encoder "$site/speech" --text_encoder "$site/text")
    tuning=(--batch_size 2 --seconds 1 --repeats 1)
    speed=(--num_utterances 1 --repeats 1)
    cost=(--batch_size 2 --repeats 1)
    features=(--rows 8 --epochs 1 --turns 1 --size 32 --batch_size 4)
    profile=(--audio_encoder "$site/speech" --seconds 1 --repeats 1)
    step=(--batch_size 2 --audio_length 50 --hidden_size 64 --min_run_time 0.1 --compile false)
fi

failed=() launcher=
measure() { # NAME SCRIPT ARGUMENTS...: within what is left of the nine minutes
    local name=$1 script=$2
    shift 2
    echo "== $name: $script $*" | tee -a "$out/tables.txt"
    timeout $((540 - SECONDS > 0 ? 540 - SECONDS : 1)) python3 $launcher "$root/scripts/benchmarks/$script" --device "$device" \
        --output "$out/$name.json" "$@" | tee -a "$out/tables.txt" || failed+=("$name")
    echo "-- $SECONDS s"
}
python3 - <<'END' | tee "$out/tables.txt"
import platform, torch, transformers
device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
print(f"{device}, torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}")
END
measure exactness encoder_exactness.py "${exactness[@]}"
measure cost fusion_cost.py "${cost[@]}"
measure cost-2-blocks fusion_cost.py "${cost[@]}" --num_hidden_layers 2
measure training-step training_step.py "${step[@]}"
measure fine-tuning fine_tuning_cost.py "${tuning[@]}"
measure stored-features stored_features.py "${features[@]}"
launcher="-m torch.distributed.run --standalone --nproc_per_node 1"
measure stored-features-ddp stored_features.py "${features[@]}" --turns 1
launcher=
measure profile-float32 encoder_profile.py "${profile[@]}"
measure profile-bfloat16 encoder_profile.py "${profile[@]}" --dtype bfloat16
measure speed-float32 encoder_speed.py "${speed[@]}"
measure speed-bfloat16 encoder_speed.py "${speed[@]}" --dtype bfloat16
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
