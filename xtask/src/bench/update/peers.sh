# The peers' tree and RAUC's bundles, once. $1 folder, $2 sources.list, $3 packages
set -eu
dir=$1 sources=$2 packages=$3
cd "$dir"
if [ ! -x tree/usr/bin/rauc ]; then
  rm -rf tree; mkdir tree
  mmdebstrap --variant=minbase --format=tar --include="$packages" --aptopt='APT::Install-Recommends "false"' \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg trixie - "$sources" | tar -x -C tree --exclude='./dev/*'
fi
mkdir -p rauc
[ -e rauc/cert.pem ] || openssl req -x509 -newkey rsa:2048 -nodes -keyout rauc/key.pem -out rauc/cert.pem -subj /CN=bench -days 3650 2>/dev/null
manifest=$4
for name in base file; do
  [ -e "www/$name.raucb" ] && continue
  rm -rf rauc/content; mkdir rauc/content
  for part in root verity uki; do ln "images/$name.$part" "rauc/content/$part.img"; done
  printf %s "$manifest" > rauc/content/manifest.raucm
  unshare --mount sh -ec 'dir=$1 name=$2; mount --make-rprivate /; mount --bind "$dir/tree" "$dir/tree"; mkdir -p "$dir/tree/bench"
    mount -t proc proc "$dir/tree/proc"; mount --rbind /dev "$dir/tree/dev"; mount --bind "$dir" "$dir/tree/bench"
    exec chroot "$dir/tree" rauc bundle --cert=/bench/rauc/cert.pem --key=/bench/rauc/key.pem /bench/rauc/content "/bench/www/$name.raucb"' rauc "$dir" "$name"
done
