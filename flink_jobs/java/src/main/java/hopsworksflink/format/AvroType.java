package hopsworksflink.format;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/**
 * A type of the schema that records were written with.
 *
 * <p>Rules are those of pipeline/spec/source/avro.py.
 */
final class AvroType {

    /** What a type is. */
    enum Kind {
        NULL,
        BOOLEAN,
        INT,
        LONG,
        FLOAT,
        DOUBLE,
        BYTES,
        STRING,
        RECORD,
        ENUM,
        FIXED,
        ARRAY,
        MAP,
        UNION
    }

    private static final Map<String, Kind> PRIMITIVES = new HashMap<>();
    private static final Map<Kind, Set<String>> LOGICAL =
            Map.of(
                    Kind.INT, Set.of("date"),
                    Kind.LONG, Set.of("timestamp-millis", "timestamp-micros", "timestamp-nanos"),
                    Kind.BYTES, Set.of("decimal"),
                    Kind.FIXED, Set.of("decimal"));

    static {
        for (Kind kind : Kind.values()) {
            if (kind.ordinal() < Kind.RECORD.ordinal()) {
                PRIMITIVES.put(kind.name().toLowerCase(Locale.ROOT), kind);
            }
        }
    }

    final Kind kind;
    String logical = "";
    int scale;
    /** Types of a record's fields, of a union's branches, or of what an array or map has. */
    AvroType[] inner = {};
    /** Names of a record's fields, or an enum's symbols. */
    String[] names = {};
    int size;

    private AvroType(Kind kind) {
        this.kind = kind;
    }

    /** A type that needs nothing else said. */
    static AvroType of(Kind kind) {
        return new AvroType(kind);
    }

    /**
     * The type of a schema.
     *
     * @throws IllegalArgumentException it is none, or not that of a record; the message goes on behind its name.
     */
    static AvroType parse(String schema) {
        AvroType type;
        try {
            type = parse(new ObjectMapper().readTree(schema), "", new HashMap<>());
        } catch (JsonProcessingException | NullPointerException broken) {
            throw new IllegalArgumentException("is no schema of Avro", broken);
        }
        if (type.kind != Kind.RECORD) {
            throw new IllegalArgumentException("is the schema of " + type + ", and records are records");
        }
        return type;
    }

    private static AvroType parse(JsonNode schema, String space, Map<String, AvroType> named) {
        if (schema.isArray()) {
            AvroType union = new AvroType(Kind.UNION);
            List<AvroType> branches = new ArrayList<>();
            schema.forEach(branch -> branches.add(parse(branch, space, named)));
            union.inner = branches.toArray(AvroType[]::new);
            return union;
        }
        if (schema.isTextual()) {
            String name = schema.asText();
            if (PRIMITIVES.containsKey(name)) {
                return new AvroType(PRIMITIVES.get(name));
            }
            AvroType found = named.getOrDefault(fullName(name, space), named.get(name));
            if (found == null) {
                throw new IllegalArgumentException("is no schema of Avro: '" + name + "' is not defined before it is used");
            }
            return found;
        }
        JsonNode type = schema.get("type");
        if (!type.isTextual()) {
            return parse(type, space, named);
        }
        switch (type.asText()) {
            case "array", "map":
                boolean array = type.asText().equals("array");
                AvroType many = new AvroType(array ? Kind.ARRAY : Kind.MAP);
                many.inner = new AvroType[] {parse(schema.get(array ? "items" : "values"), space, named)};
                return many;
            case "record", "error", "enum", "fixed":
                return named(schema, type.asText(), space, named);
            default:
                AvroType plain = parse(type, space, named);
                // What has a name means the same wherever it stands.
                return PRIMITIVES.containsKey(type.asText()) ? plain.withLogical(schema) : plain;
        }
    }

    private static AvroType named(JsonNode schema, String kind, String space, Map<String, AvroType> named) {
        String name = fullName(schema.get("name").asText(), schema.path("namespace").asText(space));
        AvroType type =
                new AvroType(
                        switch (kind) {
                            case "enum" -> Kind.ENUM;
                            case "fixed" -> Kind.FIXED;
                            default -> Kind.RECORD;
                        });
        named.put(name, type);
        switch (type.kind) {
            case FIXED -> {
                type.size = schema.get("size").asInt();
                type.withLogical(schema);
            }
            case ENUM -> {
                List<String> symbols = new ArrayList<>();
                schema.get("symbols").forEach(symbol -> symbols.add(symbol.asText()));
                type.names = symbols.toArray(String[]::new);
            }
            default -> {
                String below = name.contains(".") ? name.substring(0, name.lastIndexOf('.')) : "";
                List<String> names = new ArrayList<>();
                List<AvroType> types = new ArrayList<>();
                for (JsonNode field : schema.get("fields")) {
                    names.add(field.get("name").asText());
                    types.add(parse(field.get("type"), below, named));
                }
                type.names = names.toArray(String[]::new);
                type.inner = types.toArray(AvroType[]::new);
            }
        }
        return type;
    }

    private static String fullName(String name, String space) {
        return name.contains(".") || space.isEmpty() ? name : space + "." + name;
    }

    private AvroType withLogical(JsonNode schema) {
        String written = schema.path("logicalType").asText();
        if (LOGICAL.getOrDefault(kind, Set.of()).contains(written)) {
            logical = written;
            scale = written.equals("decimal") ? schema.path("scale").asInt(0) : 0;
        }
        return this;
    }

    /** Whether values of this type can be a column's. Of numbers, each of them must fit still. */
    boolean holds(Column column) {
        boolean number =
                switch (column.kind()) {
                    case TINYINT, SMALLINT, INT, BIGINT -> true;
                    default -> false;
                };
        boolean floating = column.kind() == Column.Kind.FLOAT || column.kind() == Column.Kind.DOUBLE;
        boolean moment = column.kind() == Column.Kind.TIMESTAMP;
        boolean counted = column.times().perSecond() > 0;
        return switch (kind) {
            case STRING, ENUM -> column.kind() == Column.Kind.DECIMAL
                    || column.kind() == Column.Kind.STRING
                    || column.kind() == Column.Kind.DATE
                    || moment && !counted;
            case BYTES, FIXED -> column.kind() == (logical.isEmpty() ? Column.Kind.BINARY : Column.Kind.DECIMAL);
            case INT, LONG -> logical.equals("date")
                    ? number || column.kind() == Column.Kind.DATE
                    : moment
                            ? counted == logical.isEmpty()
                            : number || logical.isEmpty() && (floating || column.kind() == Column.Kind.DECIMAL);
            case FLOAT, DOUBLE -> floating;
            case BOOLEAN -> column.kind() == Column.Kind.BOOLEAN;
            default -> false;
        };
    }

    @Override
    public String toString() {
        return logical.isEmpty() ? kind.name().toLowerCase(Locale.ROOT) : logical;
    }
}
