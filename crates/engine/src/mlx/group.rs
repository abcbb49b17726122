//! Several processes that compute one model together, each with its part.
//!
//! mlx-rs 0.33 has no module for this, so that the few functions of mlx-c are called here, and only here. How processes
//! find each other is told to MLX by the environment alone (`crate::shared::hosts`), so it must be that of this process
//! from its beginning.
#![allow(unsafe_code, reason = "mlx-rs has no bindings of distributed groups")]

use super::Result;
use crate::checkpoint::Share;
use mlx_rs::error::Exception;
use mlx_rs::{Array, Device, Stream};
use mlx_sys::{mlx_array_new, mlx_distributed_group};
use std::ffi::CString;
use std::sync::mpsc;
use std::time::Duration;

/// How processes of a group speak with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// TCP, to the next host and from the one before.
    Ring,
    /// RDMA over Thunderbolt 5, between Macs (macOS 26.2) that are all connected with each other.
    Jaccl,
}

/// A group.
#[derive(Debug)]
pub struct Group {
    group: mlx_distributed_group,
    /// Sums are computed by the processor, on a stream of its own, whatever computes the rest.
    stream: Stream,
    share: Share,
}

/// A handle on its way from the thread that made it.
struct Made(mlx_distributed_group);

// SAFETY: the handle is a pointer to a C++ object that no thread has any claim to; one thread at a time has it.
unsafe impl Send for Made {}

impl Link {
    fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Jaccl => "jaccl",
        }
    }
}

impl Group {
    /// Joins the group that the environment names, and waits for the others, but not for longer than `patience`.
    ///
    /// # Errors
    /// MLX has no such link; the environment is wrong; the others have not come.
    pub fn join(link: Link, patience: Duration) -> Result<Self> {
        // Through mlx-rs first: it has MLX tell it of errors, where MLX alone would end the process.
        let stream = Stream::try_default_on_device(&Device::cpu())?;
        let name = CString::new(link.name()).map_err(|error| Exception::custom(error.to_string()))?;
        // SAFETY: the name is a C string that lives until the call returns.
        if !unsafe { mlx_sys::mlx_distributed_is_available(name.as_ptr()) } {
            let reason = format!("this build of MLX has no `{}` to connect hosts with", link.name());
            return Err(Exception::custom(reason));
        }
        // MLX waits for connections without end, which a thread of its own may.
        let (made, waits) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("boca-group".into())
            .spawn(move || {
                // SAFETY: no precondition; the call makes an empty handle.
                let mut group = unsafe { mlx_sys::mlx_distributed_group_new() };
                // SAFETY: `group` is a handle that was just made, and the name a C string that outlives the call.
                let status = unsafe { mlx_sys::mlx_distributed_init(&mut group, true, name.as_ptr()) };
                // Nobody waits any more when it took too long.
                made.send((status == 0).then_some(Made(group))).ok();
            })
            .map_err(|error| Exception::custom(error.to_string()))?;
        let group = match waits.recv_timeout(patience) {
            Ok(Some(Made(group))) => group,
            Ok(None) => {
                return Err(Exception::custom(format!("{}: the hosts cannot be connected", link.name())));
            }
            Err(_) => {
                let reason = format!("{}: the hosts were not connected within {patience:?}", link.name());
                return Err(Exception::custom(reason));
            }
        };
        // SAFETY: `group` was made and initialised above.
        let (rank, size) = unsafe {
            (mlx_sys::mlx_distributed_group_rank(group), mlx_sys::mlx_distributed_group_size(group))
        };
        let number = |n| usize::try_from(n).map_err(|_| Exception::custom("a group of fewer than no hosts"));
        Ok(Self { group, stream, share: Share { rank: number(rank)?, size: number(size)? } })
    }

    /// Which one this process is.
    pub fn share(&self) -> Share {
        self.share
    }

    /// The sum of what all processes have in the place of `x`, in its format. All must ask for the same sums, in the same
    /// order: they are told apart by nothing else.
    pub(super) fn all_sum(&self, x: &Array) -> Result<Array> {
        // SAFETY: no precondition; the call makes an empty handle.
        let mut sum = unsafe { mlx_array_new() };
        // SAFETY: `sum` is a handle that was just made; the others belong to values that outlive the call.
        let status = unsafe {
            mlx_sys::mlx_distributed_all_sum(&mut sum, x.as_ptr(), self.group, self.stream.as_ptr())
        };
        // SAFETY: `sum` is a valid handle, also after a failure, and nobody else has it.
        let sum = unsafe { Array::from_ptr(sum) };
        if status == 0 { Ok(sum) } else { Err(Exception::custom("MLX cannot sum over the hosts")) }
    }

    /// What the first process has in the place of `x`, which all others get too. The graph is the same everywhere, and so
    /// is the order of its sums.
    pub(super) fn of_the_first(&self, x: &Array) -> Result<Array> {
        let counts = u32::from(self.share.rank == 0);
        self.all_sum(&x.multiply(Array::from_slice(&[counts], &[]).as_dtype(x.dtype())?)?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: `group` is valid and not used after this. MLX's operations under way hold it themselves.
        unsafe { mlx_sys::mlx_distributed_group_free(self.group) };
    }
}
