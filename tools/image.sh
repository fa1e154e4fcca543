#!/usr/bin/env bash
# Builds the images of gateway and sandbox from Containerfile: tools/image.sh [BASE [BUILD_BASE]]
#
# BASE is an image of a registry with Python 3.11, and pip unless BUILD_BASE has it. Without one, the base is made of
# Debian's packages, so that no registry of images is needed. Packages are fetched by this machine's pip, as it is
# configured, and mounted into the build: nothing of that configuration gets into a layer. Needs root, buildah and, for
# tools/image_trial.py, runc; without BASE also mmdebstrap.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^  "d1-gateway-contracts==\(.*\)",$/\1/p' pyproject.toml)
commit=$(git describe --always --dirty --abbrev=12 --exclude='*')
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export BUILDAH_ISOLATION=chroot

# Makes an image of Debian 12 with its Python 3.11 and the packages $2: no apt, no compiler, no documentation.
debian() {
  local packages=python3.11,python3-minimal,ca-certificates,libstdc++6$2
  local undocumented=(--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
    --dpkgopt='path-exclude=/usr/share/locale/*')
  # Which mirror it came from is this machine's business.
  mmdebstrap --quiet --variant=essential --include="$packages" "${undocumented[@]}" \
    --customize-hook='rm -f "$1/etc/apt/sources.list"' bookworm "$scratch/$1.tar"
  local container
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$scratch/$1.tar" / >/dev/null
  buildah commit --quiet --rm "$container" "localhost/$1" >/dev/null
  rm "$scratch/$1.tar"
}

if [ $# -gt 0 ]; then
  base=$1 build_base=${2:-$1}
else
  base=localhost/d1-gateway-base build_base=localhost/d1-gateway-build-base
  debian d1-gateway-base ""
  debian d1-gateway-build-base ",python3-pip"
fi

for pins in requirements.txt requirements-build.txt clients/python/requirements.txt; do
  python3 -m pip download --quiet --require-hashes --no-deps --only-binary :all: --python-version 3.11 \
    --dest "$scratch/packages" --requirement "$pins"
done
for target in gateway sandbox; do
  image=localhost/d1-gateway
  [ "$target" = gateway ] || image=$image-$target
  buildah build --quiet --layers --format docker --file Containerfile --target "$target" --tag "$image:$version" \
    --tag "$image:latest" --volume "$scratch/packages:/mnt:ro" --build-arg BASE="$base" \
    --build-arg BUILD_BASE="$build_base" --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/mnt \
    --build-arg SOURCE_COMMIT="$commit" --build-arg VERSION="$version" .
done
