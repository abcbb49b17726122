//! The engine's CPU kernels, from the engine's own files, so that their tests can run under emulators.
#![allow(unsafe_code, dead_code, unused_imports, unreachable_pub)]

mod checkpoint;
mod cpu;

#[cfg(test)]
mod tests {
    use crate::cpu::Isa;

    /// `SIMD_CHECK_EXPECT` names the instruction set that the emulator is there for: without it, all other tests
    /// would pass without having run what they are meant to run.
    #[test]
    fn the_expected_instruction_set_is_there() {
        let expected = std::env::var("SIMD_CHECK_EXPECT").expect("the scripts set SIMD_CHECK_EXPECT");
        assert_eq!(Isa::detect().to_string(), expected);
    }
}
