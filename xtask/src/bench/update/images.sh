# Images of the four sets: `images/{base,file,package,kernel,everything}.{root,verity,hash,uki}`, and our bundles of the first two.
# $1 folder, $2 tools tree, $3 cache, $4 update_slot
set -eu
dir=$1 tools=$2 cache=$3 slot=$4
mkdir -p "$dir/images" "$dir/www" "$dir/debs" "$dir/work"
cd "$dir"

# What a build made, found by its root hash.
field() { sed -n "s/.*\"$2\": \"\([^\"]*\)\".*/\1/p" "$1/manifest.json" | head -n 1; }
take() { # out-folder name
  hash=$(field "$1" root_hash)
  for step in "$cache"/steps/erofs/*; do
    if [ "$(cat "$step/root-hash")" = "$hash" ]; then
      cp -f "$step/root.erofs" "images/$2.root"; cp -f "$step/root.verity" "images/$2.verity"
      printf %s "$hash" > "images/$2.hash"; cp -f "$1"/*.uki.efi "images/$2.uki"; return
    fi
  done
  echo "no step of the cache has root hash $hash" >&2; exit 1
}
take out-base base
take out-file file

# In the tools tree; the folder is /bench there.
inside() {
  unshare --mount sh -ec 'tools=$1 dir=$2; shift 2; mount --make-rprivate /; mount --bind "$tools" "$tools"; mount -t tmpfs tmp "$tools/tmp"
    mkdir "$tools/tmp/bench"; mount --bind "$dir" "$tools/tmp/bench"; mount -t proc proc "$tools/proc"; mount --rbind /dev "$tools/dev"
    exec chroot "$tools" sh -ec "cd /tmp/bench; $1"' inside "$tools" "$dir" "$1"
}
root=$(ls -d "$cache"/steps/root/* | head -n 1)
overlay=$(ls -td "$cache"/steps/overlay/* | head -n 1)
make() { # name, options of mkfs.erofs; reads a tar
  [ -e "images/$1.hash" ] && { cat > /dev/null; return; }
  cat > work/all.tar
  inside "mkfs.erofs --quiet --tar=f $2 -T1767225600 -U 00000000-0000-8000-a000-000000000001 images/$1.root work/all.tar
    veritysetup format --hash=sha256 --data-block-size=4096 --hash-block-size=4096 --salt=$(printf %s "$1" | sha256sum | cut -d' ' -f1) --uuid=00000000-0000-8000-a000-000000000002 \
      --root-hash-file=images/$1.hash images/$1.root images/$1.verity > /dev/null"
  rm -f work/all.tar
}
usual='-zzstd,level=5 -C131072'

# Files of a package that the image has as well, as a tar.
tar -tf "$root/root.tar" | sort > work/have
deb() { # package version → debs/package.deb
  [ -e "debs/$1.deb" ] && return
  apt=$(ls -td "$cache"/apt/*/state | head -n 1); apt=${apt%/state}
  (cd work && rm -f ./*.deb && apt-get -qq -o Dir::State="$apt/state" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" \
    -o Dir::Etc::sourcelist="$apt/etc/sources.list" -o Dir::Etc::sourceparts=/dev/null -o APT::Architecture=amd64 -o APT::Sandbox::User=root \
    download "$1=$2")
  mv work/*.deb "debs/$1.deb"
}
files() { # deb: those of its files that the image has
  rm -rf work/tree; mkdir work/tree; dpkg-deb --fsys-tarfile "$1" | tar -x -C work/tree
  (cd work/tree && find . ! -type d | sort > ../files)
  comm -12 work/have work/files > work/both
  tar -c --owner=0 --group=0 --numeric-owner --no-recursion -C work/tree --files-from=work/both
}
before() { # package: the version before the image's
  have=$(sed -n "/^Package: $1\$/,/^\$/s/^Version: //p" "$root/dpkg-status")
  cat "$cache"/apt/*/state/lists/*Packages | awk -v package="$1" '/^Package: /{name=$2} /^Version: /{if (name == package) print $2}' |
    sort -u | while read -r version; do if dpkg --compare-versions "$version" lt "$have"; then echo "$version"; fi; done | sort -V | tail -n 1
}

if [ ! -e images/package.hash ]; then
  deb haproxy "$(before haproxy)"
  { cat "$root/root.tar" "$overlay/overlay.tar"; files debs/haproxy.deb; } | make package "$usual"
fi
if [ ! -e images/kernel.hash ]; then
  now=$(cat "$root/kernel-version")
  old=$(cat "$cache"/apt/*/state/lists/*Packages | sed -n 's/^Package: linux-image-\(6[^ ]*deb13-amd64\)$/\1/p' | sort -uV | grep -B1 -Fx "$now" | head -n 1)
  version=$(cat "$cache"/apt/*/state/lists/*Packages | awk -v package="linux-image-$old" '/^Package: /{name=$2} /^Version: /{if (name == package) print $2}' | head -n 1)
  deb "linux-image-$old" "$version"
  rm -rf work/tree; mkdir work/tree; dpkg-deb --fsys-tarfile "debs/linux-image-$old.deb" | tar -x -C work/tree
  # The modules that the image has, of the version before, under that version's name.
  sed -n "s|^\(\./usr/lib/modules/\)$now/|\1$old/|p" work/have | sort > work/wanted
  (cd work/tree && find . -path ./usr/lib/modules/\* ! -type d | sort > ../files)
  comm -12 work/wanted work/files > work/both
  cp "$root/root.tar" work/root.tar
  tar --delete -f work/root.tar "./usr/lib/modules/$now"
  tar -c --owner=0 --group=0 --numeric-owner --no-recursion -C work/tree --files-from=work/both > work/modules.tar
  # Where entries were taken out there is an end of the archive, which --concatenate takes away.
  tar --concatenate -f work/root.tar "$overlay/overlay.tar" work/modules.tar
  make kernel "$usual" < work/root.tar
  rm -f work/root.tar work/modules.tar
fi
[ -e images/everything.hash ] || { cat "$root/root.tar" "$overlay/overlay.tar"; head -c 1024 /dev/zero; } | make everything '-zzstd,level=3 -C65536'

# Kernel images of what runs: another version in the text; for the last two, other content from 1 MiB on, which is behind the texts.
head -c 1048576 images/base.uki | LC_ALL=C sed 's/0\.1\.0/0.0.9/g' > work/head
tail -c +1048577 images/base.uki > work/tail
cat work/head work/tail > images/package.uki
{ cat work/head; tr '\000-\377' '\001-\377\000' < work/tail; } > images/kernel.uki
cp images/kernel.uki images/everything.uki

[ -e www/base.bundle ] && [ -e www/file.bundle ] || {
  "$slot" pack "$(field out-base version)" images/base.root images/base.verity images/base.uki www/base.bundle images/bench.pub
  "$slot" pack "$(field out-file version)" images/file.root images/file.verity images/file.uki www/file.bundle images/bench.pub
}
