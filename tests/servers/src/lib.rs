//! Private database servers for tests: started on demand, and gone with the process that started them, however it ends.

mod database;
mod postgres;
mod watchdog;

pub use self::database::Database;
pub use self::postgres::{PostgresServer, postgres, postgres_unless_missing};
