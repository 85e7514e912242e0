//! The rotation that undoes another.

use crate::Angles;

impl Angles {
    /// The transpose of this rotation, which turns back: the sines have the other sign. It
    /// takes gradients of turned queries to gradients of queries. What grew by the
    /// amplitude grows by it again, as a transpose has it.
    #[must_use]
    pub fn back(&self) -> Angles {
        Angles { cos: self.cos.clone(), sin: -&self.sin, ..self.clone() }
    }
}
