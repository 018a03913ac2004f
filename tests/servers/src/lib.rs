//! Private database servers for tests: started on demand, and gone with the process that started them, however it ends.

mod database;
mod mysql;
mod postgres;
mod required;
mod service;
mod small;
mod watchdog;

pub use self::database::Database;
pub use self::mysql::{Flavour, MysqlServer, mariadb, mariadb_unless_missing, mysql, mysql_unless_missing};
pub use self::postgres::{PostgresServer, postgres, postgres_unless_missing};
pub use self::small::on_a_small_file_system;
