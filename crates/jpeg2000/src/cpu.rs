//! The same code, compiled for processors with AVX2.

/// Work that is worth compiling twice. What it calls is `inline(always)`, so that it is compiled with it.
pub(crate) trait Work {
    /// What it yields.
    type Output;

    /// Does it.
    fn run(self) -> Self::Output;
}

/// Which of the two is run. They yield the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// The best that the processor has.
    #[default]
    Best,
    /// Those that every processor has.
    #[cfg(test)]
    Plain,
}

/// Does work.
#[cfg(target_arch = "x86_64")]
pub(crate) fn run<W: Work>(instructions: Instructions, work: W) -> W::Output {
    if instructions == Instructions::Best
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
    {
        #[expect(unsafe_code, reason = "instructions that the processor has")]
        // SAFETY: it has been asked for all that the function is compiled for.
        unsafe {
            run_with_avx2(work)
        }
    } else {
        work.run()
    }
}

/// Does work.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn run<W: Work>(_instructions: Instructions, work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn run_with_avx2<W: Work>(work: W) -> W::Output {
    work.run()
}

#[cfg(test)]
mod tests {
    use super::Instructions;
    use crate::{Decoder, Limits, Options};

    static STREAMS: &[u8] = include_bytes!("../golden/streams.bin");

    /// Both compilations give the same samples, of all golden streams.
    #[test]
    fn instructions_do_not_matter() {
        let limits = Limits { max_pixels: 1 << 20, max_decoded_bytes: 1 << 28 };
        let options = Options { limits, skipped_levels: 0, strict: true };
        let (mut plain, mut best) = (Decoder::new(), Decoder::new());
        plain.instructions = Instructions::Plain;
        let starts = STREAMS.windows(4).enumerate().filter(|(_, start)| start == b"\xFF\x4F\xFF\x51");
        let mut num_decoded = 0;
        for (start, _) in starts {
            let image = plain.decode(&STREAMS[start..], &options);
            assert!(image == best.decode(&STREAMS[start..], &options));
            num_decoded += usize::from(image.is_ok());
        }
        assert!(num_decoded > 80, "{num_decoded}");
    }
}
