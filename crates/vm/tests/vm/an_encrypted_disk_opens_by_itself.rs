//! The chain of a host with encrypted data, on a real LUKS2 volume: key → secrets → open → mount → app. It holds after a
//! reboot and after a power cut in the middle of an update, without the network. A key that does not fit leaves the data
//! locked, and the host in reach.
//!
//! The units are as `nix/modules/secrets.nix` and `crypto.nix` write them, with their script.

use afield_core::host_data::HostData;
use afield_core::secrets::Extract;
use afield_core::secrets::age::{self, Recipient};
use afield_core::secrets::hostkey::HostPrivate;
use afield_core::secrets::master::MasterSecret;
use afield_core::secrets::seal;
use afield_testkit::host::{key, key_file};
use afield_testkit::system::{Contract, System};
use afield_vm::bed::Bed;
use afield_vm::chance::Chance;
use afield_vm::guest::{Guest, Options};
use afield_vm::machine::{BOOT, Machine};

const OPEN_DISK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../nix/scripts/open-disk.sh");

/// The device: a real disk's place is taken by a file on it.
const DEVICE: &str = "[Unit]
DefaultDependencies=no
After=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=losetup /dev/loop7 /var/lib/volume
";
const SECRETS: &str = "[Unit]
DefaultDependencies=no
After=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/bin/afield-agent secrets --host clinic --config /etc/afield/agent.toml --key /etc/ssh/ssh_host_ed25519_key --into /run/.secrets/
";
const OPEN: &str = "[Unit]
DefaultDependencies=no
After=afield-secrets.service volume.service
Requires=afield-secrets.service
Wants=volume.service
[Service]
Type=oneshot
RemainAfterExit=yes
Environment=DEVICE=/dev/loop7 MAPPER=nixos_decrypted_data KEY_FILE=/run/.secrets/keyfile
ExecStart=sh /usr/local/lib/open-disk.sh
[Install]
WantedBy=multi-user.target
";
const MOUNT: &str = "[Unit]
DefaultDependencies=no
After=open_encrypted_data.service basic.target
Requires=open_encrypted_data.service
Wants=basic.target
[Mount]
What=/dev/mapper/nixos_decrypted_data
Where=/data
Type=ext4
[Install]
WantedBy=multi-user.target open_encrypted_data.service
";
const APP: &str = "[Unit]
RequiresMountsFor=/data
[Service]
ExecStart=sh -c 'cat /proc/sys/kernel/random/boot_id >> /data/boots; sync /data/boots; exec sleep infinity'
[Install]
WantedBy=multi-user.target
";

#[test]
#[ignore = "slow: five boots"]
fn an_encrypted_disk_opens_by_itself() {
    let mut bed = Bed::new(Guest::start(Options::default()));
    install(&bed);
    offer(&mut bed, "one", "the first key");
    assert_eq!(bed.once().0, 0);
    bed.machine.exec(
        "set -e; truncate --size 64M /var/lib/volume && losetup /dev/loop7 /var/lib/volume\n\
         cryptsetup luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /run/.secrets/keyfile /dev/loop7\n\
         cryptsetup open --key-file /run/.secrets/keyfile /dev/loop7 new && mkfs.ext4 -q /dev/mapper/new && cryptsetup close new\n\
         grep -q 'the first key' /run/.secrets/keyfile; sync",
    );
    bed.machine.reboot();
    assert_eq!(opened(&bed), 1);

    // An update is cut off in its switch.
    let old = bed.current().unwrap();
    let new = offer(&mut bed, "two", "the first key");
    let from = bed.machine.console().len();
    bed.machine.exec(
        "systemd-run --quiet --setenv=AFIELD_FAULT=activation:begins:1 --setenv=AFIELD_FAULT_SAY=/dev/ttyS0 afield-agent once",
    );
    bed.machine.wait_for_console(from, "AFIELD_FAULT activation:begins:1");
    let mut chance = Chance::new();
    let lost = bed.machine.cut_power_with(|| chance.toss());
    bed.machine.start();
    assert_eq!(opened(&bed), 2, "after {lost} blocks were lost");
    assert!([&old, &new].contains(&&bed.current().unwrap()));
    let first = bed.once();
    let (code, said) = bed.once();
    assert_eq!((code, said["good"]["release"].as_u64()), (0, Some(2)), "{first:?}, {said}");

    // A key that does not fit: what is open stays so, and after a reboot the host is there without its data.
    offer(&mut bed, "three", "another key");
    bed.once();
    assert!(bed.machine.holds("mountpoint -q /data && systemctl is-active app"));
    bed.machine.reboot();
    assert!(!bed.machine.holds("mountpoint -q /data || systemctl is-active app"));
    let failed = bed.machine.exec("systemctl list-units --failed --plain --no-legend");
    assert!(failed.contains("open_encrypted_data.service"), "{failed}");
    let (_, said) = bed.once();
    assert!(said["notes"].to_string().contains("open_encrypted_data.service"), "{said}");
    assert!(said["hub_error"].is_null(), "the host is out of reach: {said}");
}

fn install(bed: &Bed<Guest>) {
    let units = [
        ("volume.service", DEVICE),
        ("afield-secrets.service", SECRETS),
        ("open_encrypted_data.service", OPEN),
        ("data.mount", MOUNT),
        ("app.service", APP),
    ];
    for (name, text) in units {
        bed.machine.write(&format!("/etc/systemd/system/{name}"), text.as_bytes());
    }
    bed.machine.copy(OPEN_DISK.as_ref(), "/usr/local/lib/open-disk.sh");
    bed.machine.exec("systemctl daemon-reload && systemctl --quiet enable open_encrypted_data data.mount app");
}

/// Waits for the app, and looks whether each came after the one before; how many boots its data has seen.
fn opened(bed: &Bed<Guest>) -> usize {
    let boot = "grep -q $(cat /proc/sys/kernel/random/boot_id) /data/boots && systemctl is-active app";
    bed.machine.wait_for("the app on its data", BOOT, boot);
    let time = |unit: &str| -> u64 {
        let show = format!("systemctl show {unit} --property ActiveEnterTimestampMonotonic --value");
        bed.machine.exec(&show).trim().parse().unwrap()
    };
    let chain = ["afield-secrets", "open_encrypted_data", "data.mount", "app"].map(time);
    assert!(chain.is_sorted() && chain[0] > 0, "{chain:?}");
    bed.machine.text("/data/boots").lines().count()
}

/// A release whose secrets have this key.
fn offer(bed: &mut Bed<Guest>, text: &str, content: &str) -> String {
    let system = System::new(text, Contract::Honest);
    let release = bed.fleet.release_data(&[(data(content), key().public())], &system);
    bed.fleet.assign("clinic", release);
    system.path().to_string()
}

fn data(content: &str) -> HostData {
    let secret = MasterSecret {
        name: "keyfile".into(),
        path: "keyfile".into(),
        content: content.to_owned().into(),
        extract: Extract::Absent,
        servers: vec!["clinic".into()],
        file: "x".into(),
        line: 1,
    };
    let private = key_file("clinic");
    let public_key = HostPrivate::from_openssh(&private).unwrap().public();
    let blob = [b"\0\0\0\x0bssh-ed25519\0\0\0\x20".as_slice(), &public_key.to_bytes()].concat();
    let text = format!("ssh-ed25519 {}", data_encoding::BASE64.encode(&blob));
    let host = seal::Host { name: "clinic".into(), public_key: text, generate: true };
    let plan = seal::plan(&[host], &[secret]).unwrap();
    let mut chance = Chance::new();
    let mut random = |bytes: &mut [u8]| bytes.fill_with(|| u8::try_from(chance.below(256)).unwrap());
    let to = [Recipient::Ssh(public_key)];
    let sealed = age::encrypt(&plan.hosts["clinic"].padded, &to, &mut random).unwrap();
    let mut data = afield_testkit::fleet::data(&"clinic".parse().unwrap(), "config");
    data.age = Some(sealed.file);
    data
}
