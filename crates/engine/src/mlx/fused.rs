//! Groups of element-wise operations that MLX makes one kernel of, where mlx-lm has it do so.
//!
//! MLX compiles them for the graphics processor with its own compiler, and for processors with `g++`, where it finds one;
//! elsewhere it computes them one by one, with the same result.

use super::Result;
use mlx_rs::Array;
use mlx_rs::ops::sigmoid;
use mlx_rs::transforms::compile::compile;
use std::cell::RefCell;
use std::fmt;

/// A compiled function of several arrays. MLX finds what it has compiled by the function, so that one is made for all
/// layers.
pub(super) struct Fused<F: ?Sized>(RefCell<Box<F>>);

impl<F: ?Sized> fmt::Debug for Fused<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fused")
    }
}

/// `silu(gate) * up`
pub(super) type Swiglu = Fused<dyn for<'a> FnMut((&'a Array, &'a Array)) -> Result<Array>>;

impl Swiglu {
    pub(super) fn new() -> Self {
        let swiglu = |(gate, up): (&Array, &Array)| sigmoid(gate)?.multiply(gate)?.multiply(up);
        Self(RefCell::new(Box::new(compile(swiglu, true))))
    }

    pub(super) fn forward(&self, gate: &Array, up: &Array) -> Result<Array> {
        (self.0.borrow_mut())((gate, up))
    }
}

/// A function from some arrays to some others.
pub(super) type Group = Fused<dyn for<'a> FnMut(&'a [Array]) -> Result<Vec<Array>>>;

impl Group {
    /// MLX traces the function anew for each new shape of its arguments, and keeps what it made.
    pub(super) fn new(function: impl FnMut(&[Array]) -> Result<Vec<Array>> + 'static) -> Self {
        Self(RefCell::new(Box::new(compile(function, false))))
    }

    pub(super) fn forward(&self, arguments: &[Array]) -> Result<Vec<Array>> {
        (self.0.borrow_mut())(arguments)
    }
}
