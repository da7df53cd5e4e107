import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Statement;
import java.util.Properties;
import java.util.TreeSet;

/** Asks a running system's history by ClickHouse's JDBC driver, and prints what it is told: see .ci/verify-drivers. */
public final class Ask {
    /** Address, user, password. */
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", args[1]);
        properties.setProperty("password", args[2]);
        String url = "jdbc:clickhouse://" + args[0] + "/natter";
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            statements(connection);
            metadata(connection.getMetaData());
        }
        System.exit(0);
    }

    private static void statements(Connection connection) throws Exception {
        try (PreparedStatement counting = connection.prepareStatement("SELECT count() FROM messages WHERE text != ?")) {
            counting.setString(1, "");
            try (ResultSet rows = counting.executeQuery()) {
                rows.next();
                say("count", rows.getLong(1));
            }
        }
        try (Statement statement = connection.createStatement()) {
            String last = "SELECT message, toUnixTimestamp64Milli(at) AS ms, text, at FROM messages ORDER BY at DESC, message DESC LIMIT 1";
            try (ResultSet rows = statement.executeQuery(last)) {
                rows.next();
                say("last", rows.getString(1) + " " + rows.getLong(2) + " " + rows.getString(3));
                say("instant", rows.getTimestamp(4).getTime() == rows.getLong(2));
            }
            long sum = 0;
            long wrong = 0;
            String many = "SELECT number, toString(number) AS digits, toLowCardinality(toString(number % 7)) AS rest FROM numbers(300000)";
            try (ResultSet rows = statement.executeQuery(many)) {
                while (rows.next()) {
                    long number = rows.getLong(1);
                    wrong += rows.getString(2).equals("" + number) && rows.getString(3).equals("" + number % 7) ? 0 : 1;
                    sum += number;
                }
            }
            say("many", sum + " " + wrong);
            boolean refused = false;
            try (ResultSet rows = statement.executeQuery("SELECT * FROM natter_store.messages")) {
                rows.next();
            } catch (java.sql.SQLException error) {
                refused = error.getMessage().contains("READONLY") || error.getErrorCode() == 164;
            }
            say("refused", refused);
        }
    }

    /** What DBeaver and its like ask. */
    private static void metadata(DatabaseMetaData about) throws Exception {
        say("types", names(about.getTypeInfo(), "TYPE_NAME").contains("String"));
        TreeSet<String> databases = names(about.getSchemas(), "TABLE_SCHEM");
        databases.addAll(names(about.getCatalogs(), "TABLE_CAT"));
        say("databases", databases.contains("natter"));
        say("kinds", names(about.getTableTypes(), "TABLE_TYPE").contains("VIEW"));
        say("tables", names(about.getTables(null, "natter", "%", null), "TABLE_NAME"));
        say("columns", names(about.getColumns(null, "natter", "users", "%"), "COLUMN_NAME"));
        say("keys", names(about.getPrimaryKeys(null, "natter", "users"), "COLUMN_NAME"));
        say("indexes", names(about.getIndexInfo(null, "natter", "users", false, true), "INDEX_NAME"));
        say("functions", names(about.getFunctions(null, null, "%"), "FUNCTION_NAME").size() > 100);
    }

    private static TreeSet<String> names(ResultSet rows, String column) throws Exception {
        try (rows) {
            TreeSet<String> names = new TreeSet<>();
            while (rows.next()) {
                names.add(rows.getString(column));
            }
            return names;
        }
    }

    private static void say(String what, Object value) {
        System.out.println("jdbc\t" + what + "\t" + value);
    }
}
