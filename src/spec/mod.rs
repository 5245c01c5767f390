//! temporary
pub mod diagnostic;
pub mod lower;
pub mod model;
pub mod source;
pub use lower::lower;
pub use model::Spec;
/// temporary
pub fn parse(_: &[source::Source]) -> Result<Spec, Vec<diagnostic::Diagnostic>> {
    todo!()
}
/// temporary
pub mod schema {
    /// temporary
    pub fn text() -> String {
        String::new()
    }
}
