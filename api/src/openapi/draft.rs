//! The document while it is written.

use utoipa::{
    ToSchema,
    openapi::{Components, HttpMethod, Paths, Ref, RefOr, Schema},
};

use super::route::Route;

/// The described routes and the schemas that they name.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) paths: Paths,
    pub(super) components: Components,
}

impl Draft {
    /// Adds the schema of a type, and returns a reference to it.
    pub(super) fn schema<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let mut nested = Vec::new();
        T::schemas(&mut nested);
        self.components.schemas.extend(nested);
        self.named(&T::name(), T::schema())
    }

    /// Adds a schema with a name, and returns a reference to it.
    pub(super) fn named(&mut self, name: &str, schema: impl Into<RefOr<Schema>>) -> RefOr<Schema> {
        self.components.schemas.insert(name.to_owned(), schema.into());
        RefOr::Ref(Ref::from_schema_name(name))
    }

    /// Adds a route.
    pub(super) fn add(&mut self, method: HttpMethod, path: &str, route: Route) {
        self.paths.add_path_operation(path, vec![method], route.build());
    }
}
