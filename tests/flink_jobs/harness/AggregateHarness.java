package hopsworksflink.aggregate;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.List;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.StringData;

/**
 * Runs a function over values that come in parts, each of which is stored and restored before they are merged. A request
 * is {"function", "type", "setting", "parts": [[value]]}, of ordered ones with [order, value] in place of a value. The
 * answer is {"result": text}, of an array the bytes as base64, or null.
 */
public final class AggregateHarness {
    private static final ObjectMapper JSON = new ObjectMapper();

    private AggregateHarness() {}

    public static void main(String[] arguments) throws Exception {
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            Object result = result(JSON.readTree(line));
            String text = result == null ? null : String.valueOf(result);
            System.out.println(JSON.createObjectNode().put("result", text));
        }
    }

    private static Object result(JsonNode request) throws Exception {
        Class<?> named = Class.forName("hopsworksflink.aggregate." + request.get("function").asText());
        OfValues function = (OfValues) named.getConstructor().newInstance();
        function.open(null);
        double setting = request.path("setting").asDouble();
        Values all = function.createAccumulator();
        for (JsonNode part : request.get("parts")) {
            Values values = function.createAccumulator();
            for (JsonNode given : part) {
                if (function instanceof Ordered ordered) {
                    Object value = value(given.get(1), request.get("type").asText());
                    ordered.accumulate(values, StringData.fromString(given.get(0).asText()), value, setting);
                } else {
                    function.accumulate(values, value(given, request.get("type").asText()), setting);
                }
            }
            function.merge(all, List.of(restored(values)));
        }
        Object result = function.getValue(restored(all));
        boolean array = function instanceof Ordered || function instanceof TopK || function instanceof CollectDistinct;
        return array && result != null
                ? Base64.getEncoder().encodeToString(result.toString().getBytes(StandardCharsets.ISO_8859_1))
                : result;
    }

    /** By the serializer that a savepoint names. */
    private static Values restored(Values values) throws Exception {
        DataOutputSerializer out = new DataOutputSerializer(64);
        TypeSerializerSnapshot.writeVersionedSnapshot(out, ValuesSerializer.INSTANCE.snapshotConfiguration());
        ValuesSerializer.INSTANCE.serialize(ValuesSerializer.INSTANCE.copy(values), out);
        DataInputDeserializer in = new DataInputDeserializer(out.getCopyOfBuffer());
        ClassLoader loader = AggregateHarness.class.getClassLoader();
        TypeSerializer<Values> serializer =
                TypeSerializerSnapshot.<Values>readVersionedSnapshot(in, loader).restoreSerializer();
        Values read = serializer.deserialize(in);
        if (in.available() > 0) {
            throw new IllegalStateException("Not all was read");
        }
        return read;
    }

    private static Object value(JsonNode node, String type) {
        if (node.isNull()) {
            return null;
        }
        String text = node.asText();
        switch (type) {
            case "boolean":
                return node.asBoolean();
            case "tinyint":
                return Byte.valueOf(text);
            case "smallint":
                return Short.valueOf(text);
            case "int":
                return Integer.valueOf(text);
            case "bigint":
                return Long.valueOf(text);
            case "float":
                return Float.valueOf(text);
            case "double":
                return Double.valueOf(text);
            case "string":
                return StringData.fromString(text);
            default:
                return DecimalData.fromBigDecimal(new BigDecimal(text), 38, 2);
        }
    }
}
