//! Who takes part.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

/// Two hosts or more, the first of which leads. MLX's ring goes through them in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Hosts(Vec<SocketAddr>);

/// Hosts that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHosts {
    /// One is no address.
    #[error("must be addresses such as \"10.0.0.1:5001\", got {0:?}")]
    NoAddress(String),
    /// Nobody else can connect to it.
    #[error("must have a port that is not 0, and an address that others can connect to, got {0:?}")]
    Nowhere(String),
    /// MLX speaks IPv4 alone.
    #[error("must be IPv4 addresses, got {0:?}")]
    NotIpv4(String),
    /// Somebody is named twice.
    #[error("must name each address once, {0:?} comes twice")]
    Twice(String),
    /// Too few, or absurdly many.
    #[error("must name 2 to {most} hosts, got {0}", most = Hosts::MOST)]
    Number(usize),
}

impl Hosts {
    /// The most hosts of a group.
    pub const MOST: usize = 64;

    /// Checks a list.
    ///
    /// # Errors
    /// [`BadHosts`]
    pub fn new(list: &[impl AsRef<str>]) -> Result<Self, BadHosts> {
        let mut hosts = Vec::with_capacity(list.len());
        for text in list {
            let text = text.as_ref().trim();
            let host: SocketAddr = text.parse().map_err(|_| BadHosts::NoAddress(text.into()))?;
            if !host.is_ipv4() {
                return Err(BadHosts::NotIpv4(text.into()));
            }
            if host.port() == 0 || host.ip().is_unspecified() || host.ip().is_multicast() {
                return Err(BadHosts::Nowhere(text.into()));
            }
            if hosts.contains(&host) {
                return Err(BadHosts::Twice(text.into()));
            }
            hosts.push(host);
        }
        if (2..=Self::MOST).contains(&hosts.len()) {
            Ok(Self(hosts))
        } else {
            Err(BadHosts::Number(hosts.len()))
        }
    }

    /// All of them.
    pub fn all(&self) -> &[SocketAddr] {
        &self.0
    }

    /// The one that leads.
    pub fn first(&self) -> SocketAddr {
        self.0[0]
    }

    /// How many there are.
    pub fn n(&self) -> usize {
        self.0.len()
    }

    /// What has to lie in the file that [`Hosts::environment`] names: a list of the addresses of each host.
    ///
    /// Source: `launch_ring` in mlx `_distributed_utils/launch.py`.
    pub fn hostfile(&self) -> String {
        let lists: Vec<String> = self.0.iter().map(|host| format!("[\"{host}\"]")).collect();
        format!("[{}]\n", lists.join(", "))
    }

    /// What MLX must find in the environment of the process with this rank, from its beginning.
    pub fn environment(rank: usize, hostfile: &Path) -> Vec<(OsString, OsString)> {
        let variables =
            [("MLX_RANK", rank.to_string().into()), ("MLX_HOSTFILE", hostfile.as_os_str().to_owned())];
        variables.map(|(name, value)| (name.into(), value)).into()
    }
}

impl FromStr for Hosts {
    type Err = BadHosts;

    fn from_str(text: &str) -> Result<Self, BadHosts> {
        Self::new(&text.split(',').collect::<Vec<_>>())
    }
}

impl TryFrom<Vec<String>> for Hosts {
    type Error = BadHosts;

    fn try_from(list: Vec<String>) -> Result<Self, BadHosts> {
        Self::new(&list)
    }
}

impl From<Hosts> for Vec<String> {
    fn from(hosts: Hosts) -> Self {
        hosts.0.iter().map(SocketAddr::to_string).collect()
    }
}
