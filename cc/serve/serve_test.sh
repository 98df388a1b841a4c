#!/bin/bash
# tfsal_run answers what make_test_bundles.py wrote, with no Python.
#   serve_test.sh TFSAL_RUN OP_LIBRARY BUNDLES.tar
set -euo pipefail

run=$PWD/$1 library=$PWD/$2
tar -x -f "$3" -C "$TEST_TMPDIR"
cd "$TEST_TMPDIR"

"$run" portable/bundle --signature gradcam --input image=portable/image.npy \
  --output-dir portable/found
cmp portable/attribution.npy portable/found/attribution.npy

answer_fused() {
  "$run" fused/bundle --input activations=fused/activations.npy \
    --input gradients=fused/gradients.npy --output-dir fused/found "$@"
}
answer_fused --op-library "$library"
cmp fused/cam.npy fused/found/cam.npy

# A stock server has not got the op, and says so.
if message=$(answer_fused 2>&1); then
  echo "the op was found without its library" >&2
  exit 1
fi
echo "$message"
[[ $message == *TfsalGradCam* ]]
