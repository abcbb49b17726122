#!/usr/bin/env bash
# Runs the kernel tests on an emulated processor with AVX-512: bochs boots a Linux kernel whose whole user space is
# the test binary. See README.md for what it needs.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tools/debian.sh
. ../debian.sh
need_packages 'the check of AVX-512' bochs isolinux syslinux-common xorriso cpio

cpu_model=corei7_skylake_x
# bochs 2.7 says of the AVX-512 state that it lies elsewhere than its size allows. Linux 6 then switches all of AVX
# off; 5.10, of the release before, complains and goes on.
kernel_release=bullseye
limit_s=${SIMD_CHECK_LIMIT_S:-1500}
work="$PWD/work/avx512"
mkdir -p "$work/packages"

# 1. The test binary, static: nothing else will be there to link with.
target=x86_64-unknown-linux-gnu
RUSTFLAGS="-C target-feature=+crt-static" cargo test --no-run --target $target --target-dir "${SIMD_CHECK_X86_DIR:-work/x86}" \
    --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1 > "$work/binary"
binary=$(cat "$work/binary")

# 2. Kernel and shell, out of the distribution's packages; nothing is installed.
cd "$work/packages"
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -1)
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $kernel_release main" > "$work/apt/sources.list"
older=(-o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/apt/lists"
    -o "Dir::Cache=$work/apt/cache")
if ! compgen -G 'linux-image-*.deb' > /dev/null; then
    apt-get "${older[@]}" -qq update
    kernel_package=${SIMD_CHECK_KERNEL:-$(apt-cache "${older[@]}" depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\)/\1/p' | head -1)}
    apt-get "${older[@]}" download "$kernel_package"
fi
compgen -G 'busybox-static_*.deb' > /dev/null || apt-get download busybox-static
rm -rf "$work/root" "$work/iso" && mkdir -p "$work/root/bin" "$work/root/dev" "$work/iso"
dpkg-deb --fsys-tarfile linux-image-*.deb | tar -xO --wildcards './boot/vmlinuz-*' > "$work/iso/vmlinuz"
dpkg-deb --fsys-tarfile busybox-static_*.deb | tar -xO ./bin/busybox > "$work/root/bin/busybox"

# 3. A file system in memory, with an /init that runs the tests and reports over the serial line.
cd "$work"
cp "$binary" root/simd-check
cat > root/init <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
exec < /dev/null > /dev/ttyS0 2>&1
export SIMD_CHECK_EXPECT=avx512
/simd-check --test-threads=1
echo "simd-check ended with $?"
/bin/busybox sleep 1
/bin/busybox poweroff -f
INIT
chmod +x root/init root/bin/busybox root/simd-check
(cd root && find . | cpio --quiet -o -H newc | gzip -1) > iso/initrd

# 4. A CD that boots it.
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 iso/
cat > iso/isolinux.cfg <<'CFG'
default linux
prompt 0
label linux
    kernel vmlinuz
    append initrd=initrd console=ttyS0,115200 panic=-1 mitigations=off nokaslr noapic tsc=reliable lpj=1000000
CFG
xorriso -as mkisofs -quiet -o boot.iso -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table iso

# 5. The machine. Its clock runs with its own instructions, so a slow host is no trouble.
cat > bochsrc <<BOCHS
display_library: rfb, options="timeout=0"
megs: 512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=$cpu_model, count=1, ips=100000000, reset_on_triple_fault=0
ata0-master: type=cdrom, path=boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial.txt
clock: sync=none
log: bochs.log
panic: action=fatal
error: action=report
BOCHS
: > serial.txt
# Built with its debugger, bochs stops before the first instruction and wants to be told to go on.
echo continue > commands
bochs -q -f bochsrc -rc commands > bochs-output.txt 2>&1 < /dev/null &
bochs=$!
trap 'kill -9 $bochs 2> /dev/null || true' EXIT
deadline=$((SECONDS + limit_s))
until grep -aq 'simd-check ended with\|Kernel panic' serial.txt; do
    if ! kill -0 $bochs 2> /dev/null; then echo "bochs ended early; see $work/bochs.log" >&2; break; fi
    if ((SECONDS > deadline)); then echo "no result after ${limit_s} s" >&2; break; fi
    sleep 1
done
grep -a '^test \|^running\|panicked\|Kernel panic\|simd-check ended' serial.txt | tr -d '\r' || tail -5 serial.txt
grep -aq 'simd-check ended with 0' serial.txt
