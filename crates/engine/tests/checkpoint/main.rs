//! Opening checkpoints: every layout that mlx-lm writes, every kind of damage, and one of full size.

mod damaged;
mod full_size;
mod layouts;
mod support;
mod verify;
