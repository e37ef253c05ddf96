//! The place the lab's pair stands in: addresses, seed, secret, SSH key. Addresses are from the ranges for
//! documentation (RFC 5737, RFC 3849), so that nothing real can be meant.

use super::accel::Accel;
use anyhow::{Context, bail};
use edgepair_host_io::atomic;
use edgepair_seed::{Companions, Input, PairSecret, Purpose, SEED_FILE, Secret, Seed, check};
use edgepair_seed_place::Payload;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The network of the lab.
pub const NETWORK: &str = "192.0.2.0/24";
/// Where the active node is reached.
pub const VIRTUAL_IP: &str = "192.0.2.50";
/// The same for IPv6.
pub const VIRTUAL_IP6: &str = "2001:db8:2::50";
/// The witness, as the nodes see it.
pub const WITNESS: (&str, u16) = ("192.0.2.9", 8443);
/// The management boards of node a and b, as the nodes see them.
pub const BOARDS: [&str; 2] = ["192.0.2.11", "192.0.2.12"];
/// A database outside the pair, as the nodes see it.
pub const DATABASE: (&str, u16) = ("192.0.2.13", 5432);
/// Login name at both.
pub const BOARD_USER: &str = "lab";
/// Name of the file beside the seed with the password at both.
pub const BOARD_FILE: &str = "board.secret";
/// Port of the Kubernetes API, unless a seed says otherwise.
pub const API_PORT: u16 = 6443;
/// Port of its balancer.
pub const BALANCER_PORT: u16 = 7443;
/// Address and network card of the worker.
pub const WORKER: (&str, &str) = ("192.0.2.70", "52:54:00:00:00:03");
/// Name of the secret's file beside the seed.
pub const SECRET_FILE: &str = "pair.secret";
/// Private half of the lab's SSH key.
pub const KEY_FILE: &str = "ssh_key";

/// One of the two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// `a` or `b`.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The side of that letter.
    pub fn parse(word: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|side| side.letter() == word)
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Address of the node's network card.
    pub const fn mac(self) -> &'static str {
        match self {
            Self::A => "52:54:00:00:00:01",
            Self::B => "52:54:00:00:00:02",
        }
    }

    /// IPv4 address.
    pub const fn address(self) -> &'static str {
        match self {
            Self::A => "192.0.2.60",
            Self::B => "192.0.2.61",
        }
    }

    /// IPv6 address.
    pub const fn address6(self) -> &'static str {
        match self {
            Self::A => "2001:db8:2::60",
            Self::B => "2001:db8:2::61",
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.letter())
    }
}

/// What may differ between pairs of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// Name of the pair.
    pub name: String,
    /// `manual`, `witness` or `fence`.
    pub mode: String,
    /// Whether the nodes have management boards.
    pub boards: bool,
    /// Fingerprint of the witness, for `witness`.
    pub fingerprint: Option<String>,
    /// Size of the replicated storage.
    pub storage: String,
    /// Whether the nodes are emulated on processors that others use as well: the hardware watchdog then gets the longest
    /// time that a seed may give it.
    pub slow: bool,
    /// Where Kubernetes stores, when there is one: `postgres`, `sqlite` or `external`.
    pub kubernetes: Option<String>,
    /// Where that is, for `external`.
    pub endpoint: Option<String>,
    /// Whether a worker belongs to the pair.
    pub worker: bool,
}

impl Wishes {
    /// A pair without a witness.
    pub fn manual(name: &str, accel: Accel) -> Self {
        Self {
            name: name.to_owned(),
            mode: "manual".into(),
            boards: false,
            fingerprint: None,
            storage: "1GiB".into(),
            slow: accel == Accel::Tcg,
            kubernetes: None,
            endpoint: None,
            worker: false,
        }
    }
}

/// A seed with its files.
pub struct Site {
    /// `seed.toml`.
    pub text: String,
    /// The pair's secret.
    pub secret: Secret,
    /// The password at the management boards, where the seed names some.
    pub board: Option<Secret>,
    /// The checked seed.
    pub seed: Seed,
}

impl Site {
    /// Makes secret, SSH key and seed in a folder, or reads the ones that are there.
    ///
    /// # Errors
    /// When files cannot be read or written, or the seed does not pass its check.
    pub fn make(dir: &Path, wishes: &Wishes) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let secret = kept_secret(&dir.join(SECRET_FILE))?;
        let board = wishes.boards.then(|| kept_secret(&dir.join(BOARD_FILE))).transpose()?;
        let key = ssh_key(dir)?;
        let text = seed_text(wishes, &key);
        atomic::write(&dir.join(SEED_FILE), text.as_bytes(), 0o644)?;
        let seed = checked(&text, &secret, board.as_ref())?;
        Ok(Self { text, secret, board, seed })
    }

    /// The password at the management boards.
    ///
    /// # Errors
    /// When there is none.
    pub fn board_password(dir: &Path) -> anyhow::Result<String> {
        Ok(fs::read_to_string(dir.join(BOARD_FILE)).context("the boards' password")?.trim().to_owned())
    }

    /// Reads what [`Site::make`] has made.
    ///
    /// # Errors
    /// When it is not there or not good.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(dir.join(SEED_FILE)).context("the lab's seed")?;
        let secret = fs::read_to_string(dir.join(SECRET_FILE)).context("the lab's secret")?;
        let secret = Secret::new(secret.trim().to_owned());
        let board = Self::board_password(dir).ok().map(Secret::new);
        Ok(Self { seed: checked(&text, &secret, board.as_ref())?, text, secret, board })
    }

    /// The same seed with another secret: a box that belongs to nobody here.
    ///
    /// # Errors
    /// When the seed does not pass its check with it.
    pub fn with_secret(&self, secret: Secret) -> anyhow::Result<Self> {
        let seed = checked(&self.text, &secret, self.board.as_ref())?;
        Ok(Self { text: self.text.clone(), seed, secret, board: self.board.clone() })
    }

    /// The same pair with a changed seed.
    ///
    /// # Errors
    /// When it does not pass its check.
    pub fn with_text(&self, text: String) -> anyhow::Result<Self> {
        let seed = checked(&text, &self.secret, self.board.as_ref())?;
        Ok(Self { seed, secret: self.secret.clone(), board: self.board.clone(), text })
    }

    /// The files for the seed partition.
    pub fn payload(&self) -> Payload {
        let mut payload = Payload::default();
        payload.secret(SECRET_FILE, format!("{}\n", self.secret.expose_secret()).as_bytes());
        if let Some(board) = &self.board {
            payload.secret(BOARD_FILE, format!("{}\n", board.expose_secret()).as_bytes());
        }
        payload.file(SEED_FILE, self.text.as_bytes());
        payload
    }

    /// The password of the database role.
    pub fn database_password(&self) -> Secret {
        PairSecret::new(self.secret.clone(), &self.seed.pair.name).text(Purpose::DatabasePassword)
    }

    /// Writes the image as a user would flash it, sparse, and puts the seed on it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flash(&self, image: &Path, disk: &Path) -> anyhow::Result<()> {
        let _ = fs::remove_file(disk);
        copy_sparse(image, disk).with_context(|| format!("copy of {}", image.display()))?;
        edgepair_seed_place::put(disk, &self.payload())?;
        Ok(())
    }
}

/// Reads a secret, or makes it.
fn kept_secret(path: &Path) -> anyhow::Result<Secret> {
    if !path.exists() {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).map_err(|why| anyhow::anyhow!("no random numbers: {why}"))?;
        let secret = edgepair_seed::secret_from_random(&random);
        atomic::write(path, secret.expose_secret().as_bytes(), 0o600)?;
    }
    Ok(Secret::new(fs::read_to_string(path)?.trim().to_owned()))
}

fn checked(text: &str, secret: &Secret, board: Option<&Secret>) -> anyhow::Result<Seed> {
    let companions = Companions::load(text, |name| {
        let of_board = board.filter(|_| name == BOARD_FILE);
        Ok(of_board.unwrap_or(secret).expose_secret().to_owned())
    });
    let (seed, report) = check(&Input { name: SEED_FILE, text, companions: &companions, disk: None });
    match seed {
        Some(seed) => Ok(seed),
        None => bail!("the lab's seed is not good:\n{}", report.render(false)),
    }
}

fn seed_text(wishes: &Wishes, key: &str) -> String {
    let Wishes { name, mode, boards, fingerprint, storage, slow, kubernetes, endpoint, worker } = wishes;
    let mut text = format!("# The pair of this lab.\nschema = 1\n\n[pair]\nname = \"{name}\"\n");
    text += &format!("virtual_ip = [\"{VIRTUAL_IP}/24\", \"{VIRTUAL_IP6}/64\"]\n");
    text += &format!("secret_file = \"{SECRET_FILE}\"\n");
    for side in Side::BOTH {
        text += &format!(
            "\n[node.{side}]\nmac = \"{}\"\naddress = [\"{}/24\", \"{}/64\"]\n",
            side.mac(),
            side.address(),
            side.address6()
        );
        if *boards {
            text += &format!(
                "\n[node.{side}.fence]\nagent = \"fence_redfish\"\naddress = \"{}\"\nusername = \"{BOARD_USER}\"\n\
                 password_file = \"{BOARD_FILE}\"\noptions = [\"ssl_insecure=1\"]\n",
                BOARDS[side as usize]
            );
        }
    }
    text += &format!("\n[storage]\nmode = \"loop\"\nsize = \"{storage}\"\n\n[failover]\nmode = \"{mode}\"\n");
    if let Some(fingerprint) = fingerprint {
        let (address, port) = WITNESS;
        text +=
            &format!("witness = {{ url = \"https://{address}:{port}\", fingerprint = \"{fingerprint}\" }}\n");
    }
    if *boards && *slow {
        text += "fence_timeout = \"120s\"\n";
    }
    if *slow {
        text += "\n[watchdog]\ntimeout = \"15s\"\n";
    }
    if *worker {
        let (address, mac) = WORKER;
        text += &format!("\n[worker.one]\nmac = \"{mac}\"\naddress = \"{address}/24\"\n");
    }
    if let Some(datastore) = kubernetes {
        text += &format!("\n[kubernetes]\ndatastore = \"{datastore}\"\n");
        if let Some(endpoint) = endpoint {
            text += &format!("endpoint = \"{endpoint}\"\n");
        }
        text += &format!("\n[kubernetes.balancer]\nport = {BALANCER_PORT}\n");
    }
    text += &format!("\n[access]\nssh_keys = [\"{key}\"]\n");
    if kubernetes.as_ref().is_none_or(|datastore| datastore == "postgres") {
        text += &format!("postgres_from = [\"{NETWORK}\"]\n");
    }
    text
}

/// Makes the lab's SSH key, or reads it; returns the public half as `authorized_keys` has it.
fn ssh_key(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join(KEY_FILE);
    if !path.exists() {
        let random = &mut ssh_key::rand_core::OsRng;
        let mut key =
            ssh_key::PrivateKey::random(random, ssh_key::Algorithm::Ed25519).context("an SSH key")?;
        key.set_comment("lab");
        let text = key.to_openssh(ssh_key::LineEnding::LF).context("an SSH key")?;
        atomic::write(&path, text.as_bytes(), 0o600)?;
    }
    let key = ssh_key::PrivateKey::read_openssh_file(&path).context("the lab's SSH key")?;
    Ok(key.public_key().to_openssh()?)
}

/// Copies a file and leaves its holes holes.
///
/// # Errors
/// The kernel's.
pub fn copy_sparse(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut source = File::open(from)?;
    let target = File::create(to)?;
    let size = source.seek(SeekFrom::End(0))?;
    target.set_len(size)?;
    let mut chunk = vec![0_u8; 1 << 20];
    let mut at = 0;
    while at < size {
        // lseek(2): ENXIO when only a hole is left.
        let Ok(start) = nix::unistd::lseek(&source, i64::try_from(at)?, nix::unistd::Whence::SeekData) else {
            break;
        };
        let end = nix::unistd::lseek(&source, start, nix::unistd::Whence::SeekHole)?;
        let (start, end) = (u64::try_from(start)?, u64::try_from(end)?);
        source.seek(SeekFrom::Start(start))?;
        let mut reader = (&source).take(end - start);
        let mut position = start;
        loop {
            let read = reader.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            target.write_all_at(&chunk[..read], position)?;
            position += read as u64;
        }
        at = end;
    }
    (&target).flush()?;
    Ok(())
}
