//! What the AVX-512 code of JPEG and of preprocessing shares: whether the processor can, loads and stores.
//!
//! Not the load and store intrinsics, whose debug assertions cost more than they do.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::__m512i;
use std::mem::transmute;

/// Bytes of one vector.
pub const VECTOR: usize = 64;

/// Tells whether this machine has all instructions that any of them wants: `avx512bw`, `vbmi` and `vnni`.
pub fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vnni")
}

/// Loads the bytes from `at` on.
///
/// # Safety
///
/// The processor has AVX-512.
#[target_feature(enable = "avx512f")]
#[inline]
pub fn load(bytes: &[u8], at: usize) -> __m512i {
    let bytes: &[u8; VECTOR] = bytes[at..at + VECTOR].try_into().expect("as long as the range");
    #[expect(unsafe_code, reason = "a load of 64 bytes")]
    // SAFETY: both are 64 bytes without a meaning.
    unsafe {
        transmute::<[u8; VECTOR], __m512i>(*bytes)
    }
}

/// Loads 32 words.
///
/// # Safety
///
/// The processor has AVX-512.
#[target_feature(enable = "avx512f")]
#[inline]
pub fn load_words(words: &[i16; VECTOR / 2]) -> __m512i {
    load(bytemuck::cast_slice(words), 0)
}

/// Stores 64 bytes.
///
/// # Safety
///
/// The processor has AVX-512.
#[target_feature(enable = "avx512f")]
#[inline]
pub fn store(out: &mut [u8; VECTOR], bytes: __m512i) {
    #[expect(unsafe_code, reason = "a store of 64 bytes")]
    // SAFETY: both are 64 bytes without a meaning.
    unsafe {
        *out = transmute::<__m512i, [u8; VECTOR]>(bytes);
    }
}
