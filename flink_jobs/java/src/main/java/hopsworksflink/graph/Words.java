package hopsworksflink.graph;

import java.util.Collections;
import java.util.HashSet;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.flink.api.dag.Transformation;
import org.apache.flink.streaming.api.transformations.SinkTransformation;
import org.apache.flink.streaming.api.transformations.SourceTransformation;

/**
 * Names of operators as people say them: of a source and a sink its table, of windows their lengths and key, of the
 * others what they do. Flink finds state by an operator's place in the graph, or by its uid, and never by its name.
 *
 * <p>What is not known here keeps the planner's name.
 */
final class Words {
    /** Flink cuts longer names in its metrics, with a warning for each of them. */
    private static final int LONGEST = 60;

    private static final Pattern NUMBERED = Pattern.compile("(.*)\\[\\d+]", Pattern.DOTALL);
    private static final Pattern KEY = Pattern.compile("(?:groupBy|partitionBy)=\\[([^]]*)]");
    private static final Pattern LENGTH = Pattern.compile("\\b(size|max_size|slide|step|gap)=\\[([^]]*)]");
    private static final Pattern BEFORE = Pattern.compile("RANGE BETWEEN (\\d+) PRECEDING AND CURRENT ROW");
    private static final Map<String, String> PLAIN = Map.of(
            "WindowTableFunction", "windows",
            "WindowJoin", "lengths joined",
            "Sort", "sorted",
            "TableToDataStream", "to Java",
            "DataStreamToTable", "to SQL");

    private final String database;
    private final Set<String> taken = new HashSet<>();
    private final Set<Transformation<?>> seen = Collections.newSetFromMap(new IdentityHashMap<>());
    private final Set<Transformation<?>> beforeWindows = Collections.newSetFromMap(new IdentityHashMap<>());

    /**
     * @param database what stands before the names of tables, with a dot behind it.
     */
    Words(String database) {
        this.database = database;
    }

    /** Name these operators and all that lead to them. */
    void tell(List<Transformation<?>> last) {
        last.forEach(one -> find(one, false));
        last.forEach(this::name);
    }

    private void find(Transformation<?> one, boolean windowsFollow) {
        if (windowsFollow ? !beforeWindows.add(one) : beforeWindows.contains(one)) {
            return;
        }
        boolean windows = KEY.matcher(String.valueOf(one.getDescription())).find();
        // Java reads events, and nothing else.
        boolean before = windowsFollow || windows || one.getName().equals("TableToDataStream");
        one.getInputs().forEach(input -> find(input, before));
    }

    private void name(Transformation<?> one) {
        if (!seen.add(one)) {
            return;
        }
        one.getInputs().forEach(this::name);
        String words = words(one);
        if (words == null) {
            taken.add(one.getName());
            return;
        }
        if (words.length() > LONGEST) {
            words = words.substring(0, LONGEST - 1) + "…";
        }
        String name = words;
        for (int number = 2; !taken.add(name); number++) {
            name = words + " (" + number + ")";
        }
        one.setName(name);
        one.setDescription(name);
    }

    private String words(Transformation<?> one) {
        Matcher numbered = NUMBERED.matcher(one.getName());
        String name = numbered.matches() ? numbered.group(1) : one.getName();
        if (one instanceof SourceTransformation || one instanceof SinkTransformation) {
            int table = name.indexOf(database);
            return table < 0 ? name : name.substring(table + database.length());
        }
        String description = String.valueOf(one.getDescription());
        if (name.equals("Calc")) {
            return beforeWindows.contains(one) ? "events" : "rows";
        }
        return PLAIN.containsKey(name) ? PLAIN.get(name) : windows(name, description);
    }

    private static String windows(String name, String description) {
        Matcher key = KEY.matcher(description);
        if (!key.find()) {
            return null;
        }
        String by = " by " + key.group(1);
        Matcher before = BEFORE.matcher(description);
        if (before.find()) {
            return duration(Long.parseLong(before.group(1))) + " before each event" + by;
        }
        Map<String, String> lengths = new LinkedHashMap<>();
        for (Matcher length = LENGTH.matcher(description); length.find(); ) {
            lengths.putIfAbsent(length.group(1), length.group(2).replace(" min", " m"));
        }
        String words = null;
        if (lengths.containsKey("gap")) {
            words = "sessions with gaps of " + lengths.get("gap");
        } else if (lengths.containsKey("max_size")) {
            words = "up to " + lengths.get("max_size") + " every " + lengths.get("step");
        } else if (lengths.containsKey("slide")) {
            words = lengths.get("size") + " every " + lengths.get("slide");
        } else if (lengths.containsKey("size")) {
            words = lengths.get("size");
        }
        if (words == null) {
            words = name.endsWith("Aggregate") ? "aggregates" : null;
        }
        return words == null ? null : words + by + (name.startsWith("Local") ? ", combined" : "");
    }

    private static String duration(long milliseconds) {
        String[] units = {"d", "h", "m", "s"};
        long[] sizes = {86_400_000, 3_600_000, 60_000, 1_000};
        for (int unit = 0; unit < units.length; unit++) {
            if (milliseconds % sizes[unit] == 0 && milliseconds > 0) {
                return milliseconds / sizes[unit] + " " + units[unit];
            }
        }
        return milliseconds + " ms";
    }
}
