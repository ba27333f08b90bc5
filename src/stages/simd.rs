//! What the AVX-512 versions of `decode` and `preprocess` share: whether the machine can, loads and stores.
//!
//! Not the load and store intrinsics, whose debug assertions cost more than they do.

use std::arch::x86_64::__m512i;
use std::mem::transmute;

/// Bytes of one vector.
pub(crate) const VECTOR: usize = 64;

/// Tells whether this machine has all instructions that any of them wants: `avx512bw`, `vbmi` and `vnni`.
pub(crate) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vnni")
}

/// Loads the bytes from `at` on.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load(bytes: &[u8], at: usize) -> __m512i {
    let bytes: &[u8; VECTOR] = bytes[at..at + VECTOR].try_into().expect("as long as the range");
    #[expect(unsafe_code, reason = "a load of 64 bytes")]
    // SAFETY: both are 64 bytes without a meaning.
    unsafe {
        transmute::<[u8; VECTOR], __m512i>(*bytes)
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load_words(words: &[i16; VECTOR / 2]) -> __m512i {
    load(bytemuck::cast_slice(words), 0)
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn store(out: &mut [u8; VECTOR], bytes: __m512i) {
    #[expect(unsafe_code, reason = "a store of 64 bytes")]
    // SAFETY: both are 64 bytes without a meaning.
    unsafe {
        *out = transmute::<__m512i, [u8; VECTOR]>(bytes);
    }
}

#[cfg(test)]
pub(crate) use tests::say_what_is_missing;

#[cfg(test)]
mod tests {
    use super::has_avx512;
    use crate::vocabulary::skipped;

    /// Lists a test that does not compare the AVX-512 versions, for lack of the instructions.
    pub(crate) fn say_what_is_missing() {
        if !has_avx512() {
            skipped::not_on_this_machine("no AVX-512 with VBMI and VNNI, so its versions are not compared");
        }
    }
}
