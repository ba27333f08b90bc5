//! What this processor computes with 8-bit integers.
//!
//! x86 processors without VNNI multiply unsigned by signed 8-bit integers and add two products in 16 bits
//! (`vpmaddubsw`), which saturates: 2 × 255 × 127 is more than 2¹⁵. Those with AVX512-VNNI or AVX-VNNI add in 32 bits.
//! Weights from −64 to 64 give the same on both.

use crate::models::operands::Operands;
use crate::vocabulary::error::{Error, Result};

/// How products of 8-bit integers are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// x86 with VNNI: in 32 bits.
    Vnni,
    /// x86 without: two of them in 16 bits, which saturate.
    Saturating,
    /// Other architectures: wide enough.
    Wide,
}

impl Products {
    /// Asks this processor.
    #[must_use]
    pub fn here() -> Self {
        #[cfg(target_arch = "x86_64")]
        let products =
            if std::is_x86_feature_detected!("avx512vnni") || std::is_x86_feature_detected!("avxvnni") {
                Self::Vnni
            } else {
                Self::Saturating
            };
        #[cfg(not(target_arch = "x86_64"))]
        let products = Self::Wide;
        products
    }
}

/// Returns what computes a quantised model's rows, as in `tilefleet.arithmetic`: `u8s7` where every processor gives the
/// same, else with what this one does, as `u8s8-vnni`.
#[must_use]
pub fn name(operands: Operands, products: Products) -> String {
    let suffix = match products {
        _ if !operands.may_saturate() => "",
        Products::Vnni => "-vnni",
        Products::Saturating => "-saturating",
        Products::Wide => "-wide",
    };
    format!("{}{suffix}", operands.name())
}

/// Refuses a model whose sums would saturate, or warns where that is allowed.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config).
pub fn check(operands: Operands, products: Products, allowed: bool) -> Result<()> {
    if products != Products::Saturating || !operands.may_saturate() {
        return Ok(());
    }
    if allowed {
        tracing::warn!(
            "this processor has no VNNI and the model's 8-bit weights have the full range: sums saturate, so \
             rows of bright tiles differ from those of other processors (`run.allow_saturation`)"
        );
        return Ok(());
    }
    Err(Error::config("with this int8 model this processor would compute other rows than processors with \
         VNNI")
        .because("it has no AVX512-VNNI or AVX-VNNI, and the model's 8-bit weights exceed 64: 16-bit sums \
             saturate")
        .hint(
            "quantise the fp32 model again with `tilefleet model quantize`, whose weights stay within 64; or run on a \
             processor with VNNI; `--set run.allow_saturation=true` accepts other rows",
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::operands::WeightIntegers;

    fn operands(weights: WeightIntegers) -> Operands {
        Operands { signed_activations: false, weights }
    }

    #[test]
    fn only_full_range_weights_on_x86_without_vnni_are_refused() {
        use Products::{Saturating, Vnni, Wide};
        use WeightIntegers::{Full, Reduced, Unsigned};
        let error = check(operands(Full), Saturating, false).unwrap_err();
        assert_eq!(error.kind().exit_code(), 78);
        assert!(error.render().contains("model quantize"), "{}", error.render());
        check(operands(Full), Saturating, true).unwrap();
        for (weights, products) in
            [(Full, Vnni), (Full, Wide), (Reduced, Saturating), (Unsigned, Saturating), (Reduced, Vnni)]
        {
            check(operands(weights), products, false).unwrap();
        }
        let name = |weights, products| name(operands(weights), products);
        assert_eq!(
            (name(Full, Vnni), name(Full, Saturating)),
            ("u8s8-vnni".into(), "u8s8-saturating".into())
        );
        assert_eq!((name(Reduced, Vnni), name(Reduced, Saturating)), ("u8s7".into(), "u8s7".into()));
    }
}
